"""How many bytes a second may move, by the time of day: what a limit says, and how a person writes it. Pure decisions.

    BANDWIDTH = RULE { ";" RULE }
    RULE      = RATE                               only the first: the rate while no window is open
              | [ DAYS ] BEGIN "-" END "=" RATE    a window
    DAYS      = DAY [ "-" DAY ] { "," DAY [ "-" DAY ] }
    RATE      = a size, with or without "/s", or "unlimited"

Days and times are those of the clock on the wall. A window is open from its begin until just before its end. One that
ends before it begins ends on the next day, and its days are those on which it begins. Of windows that are open at once
the last in the text holds.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from holdfast.core.errors import UsageError
from holdfast.core.sizes import parse_rate

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY: Final = frozenset(range(7))
_DAY: Final = timedelta(days=1)
_DAY_MINUTES: Final = 24 * 60
_NO_LIMIT: Final = "unlimited"
_WINDOW = re.compile(r"(?:(?P<days>[^0-9].*?)\s+)?(?P<begins>[0-9:]+)\s*-\s*(?P<ends>[0-9:]+)")
_TIME = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-5][0-9])")
_HINT: Final = (
    "write a rate like 500K or 20MiB/s, more than 0, or 'unlimited'; behind it, each after a semicolon, windows like "
    "'20MiB; 08:00-18:00=2MiB; mon-fri 12:00-13:00=500K; sat,sun 22:00-06:00=unlimited'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of day that has its own rate, in bytes a second; None is unlimited.

    `begins` and `ends` count minutes from midnight and differ; `ends` may be 1440. `days` are those on which it begins,
    0 is Monday.
    """

    begins: int
    ends: int
    rate: int | None
    days: frozenset[int] = _EVERY_DAY

    def is_open(self, local: datetime) -> bool:
        """Whether it is open at this local time."""
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.begins < self.ends:
            return today in self.days and self.begins <= minute < self.ends
        yesterday = (today - 1) % 7
        return (today in self.days and minute >= self.begins) or (yesterday in self.days and minute < self.ends)

    def text(self) -> str:
        """As a person would write it."""
        days = "" if self.days == _EVERY_DAY else ",".join(_DAYS[day] for day in sorted(self.days)) + " "
        return f"{days}{_time_text(self.begins)}-{_time_text(self.ends)}={_rate_text(self.rate)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Bytes a second while no window is open, None is unlimited; and windows, of which the last that is open holds."""

    rate: int | None = None
    windows: tuple[Window, ...] = ()

    @property
    def limits(self) -> bool:
        """Whether there is any time at which it holds something up."""
        return self.rate is not None or any(window.rate is not None for window in self.windows)

    def rate_at(self, local: datetime) -> int | None:
        """Bytes a second at this local time; None if they are unlimited."""
        for window in reversed(self.windows):
            if window.is_open(local):
                return window.rate
        return self.rate

    def seconds_to_change(self, local: datetime) -> float:
        """How long from this local time until a window begins or ends, on whatever day; infinite without windows.

        It counts on a clock that goes on evenly: whoever waits for so long looks at the clock more often.
        """
        since_midnight = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
        minutes = {minute for window in self.windows for minute in (window.begins, window.ends)}
        gaps = ((timedelta(minutes=minute) - since_midnight) % _DAY or _DAY for minute in minutes)
        return min((gap.total_seconds() for gap in gaps), default=math.inf)

    def left_of(self, owed: float, local: datetime, seconds: float) -> float:
        """How many of so many bytes are still to be moved, if they move from this local time on for so long."""
        while owed > 0:
            rate = self.rate_at(local)
            if rate is None:
                return 0
            if seconds <= 0:
                return owed
            step = min(seconds, self.seconds_to_change(local))
            owed -= rate * step
            local += timedelta(seconds=step)
            seconds -= step
        return 0

    def text(self) -> str:
        """As a person would write it; reading that gives the same."""
        return "; ".join([_rate_text(self.rate), *(window.text() for window in self.windows)])


UNLIMITED: Final = Bandwidth()


def parse_bandwidth(text: str, source: str) -> Bandwidth:
    """What a person wrote; `source` is where, for the error. Raises UsageError."""
    first, *others = (rule.strip() for rule in text.split(";"))
    windows = [first, *others] if "=" in first else others
    try:
        rate = None if "=" in first else _parse_rate(first)
        return Bandwidth(rate=rate, windows=tuple(_parse_window(rule) for rule in windows))
    except ValueError as wrong:
        raise UsageError(f"{source}: {text!r} is no bandwidth: {wrong}", hint=_HINT, code="bad-rate") from None


def _parse_window(rule: str) -> Window:
    """A rule with a window. Raises ValueError, as the others below do, with words for the user."""
    if not rule:
        raise ValueError("nothing stands before or behind a semicolon")
    when, equals, rate = (part.strip() for part in rule.partition("="))
    if not equals:
        raise ValueError(f"{rule!r} has no '=': only the first rule can be a rate without a window")
    window = _WINDOW.fullmatch(when)
    if window is None:
        raise ValueError(f"{when!r}, before '=', is no window")
    begins, ends = _parse_time(window["begins"], rule), _parse_time(window["ends"], rule)
    if begins % _DAY_MINUTES == ends % _DAY_MINUTES and (begins, ends) != (0, _DAY_MINUTES):
        raise ValueError(f"{when!r} ends when it begins; the whole day is 00:00-24:00")
    if begins == _DAY_MINUTES:
        raise ValueError(f"{when!r} begins at 24:00, which is 00:00 of the next day")
    days = _EVERY_DAY if window["days"] is None else _parse_days(window["days"], rule)
    return Window(begins=begins, ends=ends, rate=_parse_rate(rate), days=days)


def _parse_rate(text: str) -> int | None:
    if text.lower() == _NO_LIMIT:
        return None
    rate = parse_rate(text)
    if rate is None:
        raise ValueError(f"{text!r} is no rate")
    return rate


def _parse_time(text: str, rule: str) -> int:
    """Minutes from midnight, at most those of 24:00."""
    time = _TIME.fullmatch(text)
    minutes = int(time["hour"]) * 60 + int(time["minute"]) if time else _DAY_MINUTES + 1
    if minutes > _DAY_MINUTES:
        raise ValueError(f"{text!r}, in {rule!r}, is no time of day")
    return minutes


def _parse_days(text: str, rule: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = (name.strip().lower() for name in part.partition("-"))
        for name in (first, last) if dash else (first,):
            if name not in _DAYS:
                raise ValueError(f"{name!r}, in {rule!r}, is no day; days are {', '.join(_DAYS)}")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if dash else 0
        days.update((begin + offset) % 7 for offset in range(length + 1))
    return frozenset(days)


def _rate_text(rate: int | None) -> str:
    return _NO_LIMIT if rate is None else str(rate)


def _time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
