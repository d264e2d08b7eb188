"""Compare: where the disks of two points differ, told from their trees alone."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from holdfast.core.extents import Extent, normalise, total_bytes
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.progress import Progress
from holdfast.jobs.hold import held
from holdfast.mover import opening
from holdfast.repository import Repository

DiskChange = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskDifference:
    """How one disk differs: by segments, so what is listed may hold bytes that are alike; what is not, does not differ.

    A size is None where the point does not have the disk. What a disk has lost at its end is told by its sizes only.
    """

    name: str
    change: DiskChange
    size_before_bytes: int | None
    size_after_bytes: int | None
    changed_bytes: int
    extents: Sequence[Extent]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDifference:
    """From point `before` to point `after`."""

    before: str
    after: str
    machine: str
    machine_id: str
    captured_before_at: datetime
    captured_after_at: datetime
    disks: tuple[DiskDifference, ...]


def compare_points(
    repository: Repository, before: RestorePoint, after: RestorePoint, progress: Progress
) -> PointDifference:
    """Compare two points of one repository, disk by disk, by name. Cost follows change. Raises DamagedError."""
    names = dict.fromkeys(disk.name for point in (before, after) for disk in point.disks)
    with ExitStack() as holds:
        for point in {each.id: each for each in (before, after)}.values():
            holds.enter_context(held(repository, point, progress))
        disks = tuple(_compare(repository, name, before.disk(name), after.disk(name)) for name in names)
    return PointDifference(
        before=before.id,
        after=after.id,
        machine=after.machine,
        machine_id=after.machine_id,
        captured_before_at=before.captured_at,
        captured_after_at=after.captured_at,
        disks=disks,
    )


def _compare(repository: Repository, name: str, before: PointDisk | None, after: PointDisk | None) -> DiskDifference:
    extents = _extents(repository, before, after) if after else []
    change: DiskChange = "changed"
    if before is None:
        change = "added"
    elif after is None:
        change = "removed"
    elif before.root == after.root:
        change = "same"
    return DiskDifference(
        name=name,
        change=change,
        size_before_bytes=before.size_bytes if before else None,
        size_after_bytes=after.size_bytes if after else None,
        changed_bytes=total_bytes(extents),
        extents=extents,
    )


def _extents(repository: Repository, before: PointDisk | None, after: PointDisk) -> list[Extent]:
    if before is not None and before.root == after.root:
        return []
    with opening(repository, after) as now:
        if before is None:
            return normalise(extent for layout in now.layouts() for extent in layout.extents())
        with opening(repository, before) as then:
            return normalise(now.extents_changed_since(then))
