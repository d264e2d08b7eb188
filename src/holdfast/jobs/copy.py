"""Copy: bring points that another repository lacks into it, oldest first, so that each costs what it changed."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from holdfast.core.errors import RefusedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.selection import PointReference, in_order, points_of, select_point
from holdfast.jobs.hold import require_not_purged
from holdfast.jobs.notes import Notes
from holdfast.jobs.results import CopyMethod, CopyResult
from holdfast.mover import Care, Common, PointThereError, copy_point
from holdfast.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """A point to be copied, and the id of the one it will be compared with: None if all of it has to be looked at."""

    point: RestorePoint
    built_on: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """What a copy will do, in order. `there` are in the target already, `deleted` were and are not brought back."""

    method: CopyMethod
    points: tuple[PlannedPoint, ...]
    there: tuple[RestorePoint, ...]
    deleted: tuple[RestorePoint, ...]


def choose_points(
    points: Sequence[RestorePoint],
    machines: Sequence[str],
    references: Sequence[PointReference],
    *,
    proven: Collection[str],
) -> list[RestorePoint]:
    """The points that are meant, oldest capture first; all of them if neither machines nor points are named.

    `proven` are the ids of those that were verified.

    Raises NotFoundError, UsageError as `points_of` and `select_point` do.
    """
    chosen = [each for machine in machines for each in points_of(points, machine)]
    chosen += [select_point(points, reference, proven=proven) for reference in references]
    if not (chosen or machines or references):
        chosen = list(points)
    return in_order({point.id: point for point in chosen}.values())


def plan_copy(source: Repository, target: Repository, wanted: Sequence[RestorePoint]) -> CopyPlan:
    """Which of these points have to be copied, and what each can build on. Raises RefusedError for one repository."""
    if source.id == target.id:
        raise RefusedError(
            f"{source.storage.url} and {target.storage.url} are one repository",
            hint="name two; to bring a damaged copy of a repository back, copy its objects",
            code="same-repository",
        )
    state = target.state()
    return plan_points(
        wanted,
        source=source.points(),
        target=list(state.points.values()),
        deleted={*state.trash, *state.purged},
        method="taken-over" if source.names_alike(target) else "cut-anew",
    )


def plan_points(
    wanted: Iterable[RestorePoint],
    *,
    source: Sequence[RestorePoint],
    target: Sequence[RestorePoint],
    deleted: Collection[str],
    method: CopyMethod,
) -> CopyPlan:
    """The plan, from the points of both. A point that was deleted in the target stays deleted: that was a decision."""
    live = {point.id for point in target}
    common = [point for point in source if point.id in live]
    planned: list[PlannedPoint] = []
    there: list[RestorePoint] = []
    gone: list[RestorePoint] = []
    for point in in_order(wanted):
        if point.id in live:
            there.append(point)
        elif point.id in deleted:
            gone.append(point)
        else:
            nearest = _nearest(point, common)
            planned.append(PlannedPoint(point=point, built_on=nearest.id if nearest else None))
            common.append(point)
    return CopyPlan(method=method, points=tuple(planned), there=tuple(there), deleted=tuple(gone))


def _nearest(point: RestorePoint, others: Iterable[RestorePoint]) -> RestorePoint | None:
    """The point of the same machine captured last before this one; if there is none, first after it."""
    mine = in_order(other for other in others if other.machine_id == point.machine_id)
    before = [other for other in mine if other.captured_at <= point.captured_at]
    return before[-1] if before else next(iter(mine), None)


def copy_planned(
    source: Repository, target: Repository, planned: PlannedPoint, *, method: CopyMethod, care: Care, progress: Progress
) -> CopyResult | None:
    """Copy one point of a plan; None if another copy has brought it meanwhile.

    Raises NotFoundError if it was purged before it could be held, and what either repository raises; the target is then
    as it was.
    """
    began = time.monotonic()
    notes = Notes(progress)
    point = planned.point
    require_not_purged(source, point)
    try:
        outcome = copy_point(
            source, target, point, built_on=_common(source, target, planned), care=care, progress=notes
        )
    except PointThereError:
        return None
    return CopyResult(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        captured_at=point.captured_at,
        repository=target.storage.url,
        method=method,
        built_on=planned.built_on,
        sent_bytes=outcome.sent_bytes,
        stored_bytes=outcome.stored_bytes,
        seconds=round(time.monotonic() - began, 3),
        locked_until=outcome.locked_until,
        warnings=notes.warnings,
    )


def _common(source: Repository, target: Repository, planned: PlannedPoint) -> Common | None:
    """What to build on, as both have it by now; None if one has deleted it, or if they are not the same after all."""
    mine, theirs = (each.log.state.points.get(planned.built_on or "") for each in (source, target))
    if mine is None or theirs is None or _likeness(mine) != _likeness(theirs):
        return None
    return Common(source=mine, target=theirs)


def _likeness(point: RestorePoint) -> object:
    """What the same point has in common wherever it is."""
    disks = {disk.name: disk.size_bytes for disk in point.disks}
    return point.machine_id, point.captured_at, disks
