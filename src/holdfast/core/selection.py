"""Choosing a restore point by what a person writes: `MACHINE@latest`, `MACHINE@2026-11-22T02:00`, an id or its start.

Parsing and choosing are apart, so that a mistyped reference is refused before anything is opened. Nothing is guessed:
what could mean two machines or two points is refused and both are named.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from holdfast.core.errors import NotFoundError, UsageError
from holdfast.core.point import PointDisk, RestorePoint

SHORTEST_ID = 6  # hex digits; below that, a prefix soon stops being unique

Localise = Callable[[datetime], datetime]
"""Gives a naive local time its zone, honouring `fold`; `datetime.astimezone` is this computer's own."""

_LATEST = re.compile(r"latest(?:-(?P<back>\d{1,9}))?")
_ID = re.compile(r"[0-9a-f]{1,16}")
_TIME = re.compile(r"[12]\d{3}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?P<fraction>\.\d+)?)? ?(?:Z|[+-]\d{2}:?\d{2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The newest point, or the one `back` places before it."""

    back: int


@dataclass(frozen=True, slots=True)
class LatestVerified:
    """The newest point whose last recovery on trial went well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ById:
    """The point whose id begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """The newest point captured at `when` or before.

    Captures are shown to the second, so they are compared to the second (`whole_seconds`) unless `when` has a fraction.
    """

    when: datetime
    whole_seconds: bool


Selector = Latest | LatestVerified | ById | AsOf


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReference:
    """A parsed reference. `machine` is an id or a name, None where a bare point id was written."""

    text: str
    machine: str | None
    selector: Selector


def parse_reference(text: str) -> PointReference:
    """Parse `MACHINE@SELECTOR` or a bare point id. Raises UsageError.

    The last `@` divides: a machine's name may contain `@`, a selector cannot.
    """
    machine, at, selector = text.rpartition("@")
    if at and machine and selector:
        return PointReference(text=text, machine=machine, selector=_parse_selector(selector, text))
    if not at and _ID.fullmatch(text.lower()):
        return PointReference(text=text, machine=None, selector=_parse_id(text.lower()))
    raise UsageError(
        f"{text!r} names no restore point",
        hint=f"write MACHINE@latest, MACHINE@TIME, MACHINE@ID or a point id; for instance {machine or text}@latest",
        code="bad-reference",
    )


def select_point(
    points: Sequence[RestorePoint],
    reference: PointReference,
    localise: Localise = datetime.astimezone,
    *,
    proven: Collection[str],
) -> RestorePoint:
    """Choose the one point among `points` that `reference` means; `proven` are the ids of those that were verified.

    Raises NotFoundError if there is none, UsageError if machine, id or local time mean more than one.
    """
    mine = points_of(points, reference.machine) if reference.machine is not None else in_order(points)
    match reference.selector:
        case Latest(back=back):
            return _nth_newest(mine, back, reference)
        case LatestVerified():
            return _newest_proven(mine, proven, reference)
        case ById(prefix=prefix):
            return _with_id(mine, prefix, reference, everywhere=points)
        case AsOf() as as_of:
            return _as_of(mine, as_of, reference, localise)


def points_of(points: Iterable[RestorePoint], machine: str) -> list[RestorePoint]:
    """The points of the machine with this id or name, oldest first; at least one.

    Raises NotFoundError, and UsageError if machines with different ids have borne the name.
    """
    ordered = in_order(points)
    by_id = [point for point in ordered if point.machine_id == machine]
    if by_id:
        return by_id
    ids = list(dict.fromkeys(point.machine_id for point in ordered if point.machine == machine))
    if not ids:
        names = sorted({point.machine for point in ordered})
        raise NotFoundError(
            f"no restore point of a machine called {machine!r}",
            hint=did_you_mean(machine, names) or "list what there is with: holdfast point list",
            code="no-such-machine",
        )
    if len(ids) > 1:
        raise UsageError(
            f"{len(ids)} machines are called {machine!r}: {', '.join(ids)}",
            hint=f"name the machine by its id, for instance {ids[-1]}@latest",
            code="ambiguous-machine",
        )
    return [point for point in ordered if point.machine_id == ids[0]]


def select_disk(point: RestorePoint, name: str) -> PointDisk:
    """The disk called `name`. Raises NotFoundError that lists the disks the point has."""
    disk = point.disk(name)
    if disk is None:
        names = [each.name for each in point.disks]
        raise NotFoundError(
            f"point {point.id} of {point.machine} has no disk {name!r}",
            hint=did_you_mean(name, names) or f"its disks: {', '.join(names)}",
            code="no-such-disk",
        )
    return disk


def only_disk(point: RestorePoint) -> PointDisk:
    """The disk of a point that has one. Raises UsageError that lists them if it has several."""
    if len(point.disks) != 1:
        names = ", ".join(disk.name for disk in point.disks)
        raise UsageError(
            f"point {point.id} of {point.machine} has {len(point.disks)} disks", hint=f"choose one with --disk: {names}"
        )
    return point.disks[0]


def in_order(points: Iterable[RestorePoint]) -> list[RestorePoint]:
    """Oldest capture first; the commit, then the id, decide between captures of one instant."""
    return sorted(points, key=lambda point: (point.captured_at, point.created_at, point.id))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question for a hint when `word` is close to something known, else an empty string."""
    close = get_close_matches(word, list(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _parse_selector(selector: str, text: str) -> Selector:
    if selector == "latest-verified":
        return LatestVerified()
    if latest := _LATEST.fullmatch(selector):
        return Latest(back=int(latest["back"] or 0))
    if _ID.fullmatch(selector.lower()):
        return _parse_id(selector.lower())
    if time := _TIME.fullmatch(selector.upper()):
        return AsOf(when=_parse_time(selector), whole_seconds=time["fraction"] is None)
    raise UsageError(
        f"{selector!r} in {text!r} is no way to choose a restore point",
        hint="after the last @ comes latest, latest-1, latest-verified, a time such as 2026-11-22T02:00 or an id",
        code="bad-reference",
    )


def _parse_id(prefix: str) -> ById:
    if len(prefix) < SHORTEST_ID:
        raise UsageError(
            f"{prefix!r} is too short for a point's id",
            hint=f"give at least {SHORTEST_ID} of its digits",
            code="bad-reference",
        )
    return ById(prefix=prefix)


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.upper().replace(" ", "T", 1).replace(" ", ""))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a time: {error}", hint="write it like 2026-11-22T02:00", code="bad-reference"
        ) from error


def _nth_newest(mine: Sequence[RestorePoint], back: int, reference: PointReference) -> RestorePoint:
    if back >= len(mine):
        count = "1 restore point" if len(mine) == 1 else f"{len(mine)} restore points"
        raise NotFoundError(
            f"{reference.text}: {reference.machine} has only {count}",
            hint=f"the oldest is {reference.machine}@latest-{len(mine) - 1}",
            code="no-such-point",
        )
    return mine[-1 - back]


def _newest_proven(mine: Sequence[RestorePoint], proven: Collection[str], reference: PointReference) -> RestorePoint:
    chosen = next((point for point in reversed(mine) if point.id in proven), None)
    if chosen is None:
        raise NotFoundError(
            f"{reference.text}: no restore point of {reference.machine} was recovered on trial and found good",
            hint=f"run: holdfast point verify {reference.machine}@latest --boot",
            code="no-such-point",
        )
    return chosen


def _with_id(
    mine: Sequence[RestorePoint], prefix: str, reference: PointReference, *, everywhere: Iterable[RestorePoint]
) -> RestorePoint:
    found = [point for point in mine if point.id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{point.id} ({point.machine})" for point in found)
        raise UsageError(
            f"{prefix!r} begins {len(found)} point ids: {listed}", hint="give more digits", code="ambiguous-point"
        )
    others = [f"{point.machine}@{point.id}" for point in everywhere if point.id.startswith(prefix)]
    raise NotFoundError(
        f"no restore point {reference.text}",
        hint=f"did you mean {' or '.join(others)}?" if others else "list what there is with: holdfast point list",
        code="no-such-point",
    )


def _as_of(mine: Sequence[RestorePoint], as_of: AsOf, reference: PointReference, localise: Localise) -> RestorePoint:
    instants = _instants(as_of.when, localise)
    answers = [_newest_not_later(mine, instant, whole_seconds=as_of.whole_seconds) for instant in instants]
    chosen = answers[0]
    if any(answer != chosen for answer in answers):
        written = " and ".join(instant.isoformat(sep=" ") for instant in instants)
        raise UsageError(
            f"{reference.text}: clocks change at that time, it may be {written}, and these choose different points",
            hint=f"add the zone, for instance {reference.machine}@{instants[0].isoformat()}",
            code="ambiguous-time",
        )
    if chosen is None:
        raise NotFoundError(
            f"{reference.text}: {reference.machine} has no restore point that old",
            hint=f"its oldest was captured at {mine[0].captured_at.isoformat(sep=' ', timespec='seconds')}",
            code="no-such-point",
        )
    return chosen


def _instants(when: datetime, localise: Localise) -> list[datetime]:
    """A naive time is two instants where clocks go back, and a doubtful one where they jump: both readings."""
    if when.tzinfo is not None:
        return [when]
    readings = [localise(when.replace(fold=fold)) for fold in (0, 1)]
    return list({reading.timestamp(): reading for reading in readings}.values())


def _newest_not_later(mine: Iterable[RestorePoint], instant: datetime, *, whole_seconds: bool) -> RestorePoint | None:
    limit = instant.astimezone(UTC)
    chosen = None
    for point in mine:
        captured = point.captured_at.replace(microsecond=0) if whole_seconds else point.captured_at
        if captured <= limit:
            chosen = point
    return chosen
