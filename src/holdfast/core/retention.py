"""Retention: which points to keep, and why; and which of the trash have rested long enough. Pure decisions.

Rules count what there is, not what should be there: `daily=7` keeps the newest point of each of the last seven days
that have one, so a machine whose backups have stopped loses nothing by time going on. Each rule judges all points of a
machine by itself, and a point stays if any rule keeps it. Hence

- what was kept is kept again: a second run drops nothing more;
- a run every day keeps what one run at the end would keep.

Hours, days, ISO weeks, months and years are those of the calendar where the command runs. Where clocks go back, the
hour that comes twice counts as two.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from holdfast.core.point import RestorePoint
from holdfast.core.selection import Localise, in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How many points of each machine to keep, by period, and how old a point must be before it can be dropped.

    `at_least` of the newest stay whatever the rest says: one, unless a person wants a machine to end without points.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    minimum_age: timedelta = timedelta()
    at_least: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A live point, and what forbids to drop it, in words; empty if nothing does."""

    point: RestorePoint
    protection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a point: kept by these rules, or dropped since there are none."""

    point: RestorePoint
    rules: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether the point stays."""
        return bool(self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """A verdict for every point that was looked at, machine by machine, oldest capture first."""

    verdicts: tuple[Verdict, ...]

    @property
    def dropped(self) -> list[RestorePoint]:
        """What no rule keeps."""
        return [verdict.point for verdict in self.verdicts if not verdict.keep]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trashed:
    """A point in the trash, since when, and what forbids to purge it, in words; empty if nothing does."""

    point: RestorePoint
    since: datetime
    protection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeVerdict:
    """What becomes of a point in the trash: it stays for this reason, or is purged if there is none."""

    trashed: Trashed
    stays: str


_PERIODS: Final[Sequence[tuple[str, Callable[[Rule], int], Callable[[datetime], str]]]] = (
    ("hourly", lambda rule: rule.hourly, lambda local: local.strftime("%Y-%m-%d %H:00 %z")),
    ("daily", lambda rule: rule.daily, lambda local: local.strftime("%Y-%m-%d")),
    ("weekly", lambda rule: rule.weekly, lambda local: local.strftime("%G-W%V")),
    ("monthly", lambda rule: rule.monthly, lambda local: local.strftime("%Y-%m")),
    ("yearly", lambda rule: rule.yearly, lambda local: local.strftime("%Y")),
)


def plan_retention(
    candidates: Sequence[Candidate], rule: Rule, now: datetime, localise: Localise = datetime.astimezone
) -> RetentionPlan:
    """Judge these points by a rule, each machine by itself."""
    reasons = {each.point.id: [each.protection] if each.protection else [] for each in candidates}
    machines: dict[str, list[RestorePoint]] = {}
    for point in in_order(each.point for each in candidates):
        machines.setdefault(point.machine_id, []).append(point)
    for mine in machines.values():
        for point, reason in _kept_by_rules(mine[::-1], rule, now, localise):
            reasons[point.id].append(reason)
    verdicts = [Verdict(point=point, rules=tuple(reasons[point.id])) for mine in machines.values() for point in mine]
    return RetentionPlan(verdicts=tuple(verdicts))


def plan_purge(trash: Iterable[Trashed], older_than: timedelta, now: datetime) -> list[PurgeVerdict]:
    """Judge the trash: what has been in it for long enough goes, unless something forbids it."""
    return [PurgeVerdict(trashed=each, stays=_why_it_stays(each, older_than, now)) for each in trash]


def _kept_by_rules(
    newest_first: Sequence[RestorePoint], rule: Rule, now: datetime, localise: Localise
) -> Iterator[tuple[RestorePoint, str]]:
    """Every (point, what keeps it)."""
    for place, point in enumerate(newest_first, 1):
        if place <= rule.last:
            yield point, f"last {place}"
        elif place <= rule.at_least:
            yield point, "nothing newer" if place == 1 else f"at least {rule.at_least}"
        if rule.minimum_age and now - point.captured_at < rule.minimum_age:
            yield point, "too young"
    for name, count_of, period_of in _PERIODS:
        newest: dict[str, RestorePoint] = {}
        for point in newest_first:
            newest.setdefault(period_of(localise(point.captured_at)), point)
        for period, point in islice(newest.items(), count_of(rule)):
            yield point, f"{name} {period}"


def _why_it_stays(trashed: Trashed, older_than: timedelta, now: datetime) -> str:
    if trashed.protection:
        return trashed.protection
    return "" if now - trashed.since >= older_than else "not long enough in the trash"
