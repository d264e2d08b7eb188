"""Times and periods as options say them."""

import re
from datetime import UTC, datetime, timedelta

import click

_PERIOD = re.compile(r"(?P<number>\d{1,9}) ?(?P<unit>[smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType[timedelta]):
    """A period of time: 90m, 12h, 7d, 8w."""

    name = "period"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The period."""
        if isinstance(value, timedelta):
            return value
        period = _PERIOD.fullmatch(value)
        if period is None:
            self.fail(f"{value!r} is not a period; write it like 12h, 7d or 8w", param, ctx)
        try:
            return timedelta(**{_UNITS[period["unit"]]: int(period["number"])})
        except OverflowError:
            self.fail(f"{value!r} is longer than any calendar", param, ctx)


class Moment(click.ParamType[datetime]):
    """A time; local unless it has a zone."""

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The instant."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; write it like 2027-06-30T12:00", param, ctx)
