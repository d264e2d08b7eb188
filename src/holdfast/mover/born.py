"""The first point of a machine that was made of a point: nothing has to be read for it, and the next builds on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from holdfast.core.boot import Newborn
from holdfast.core.extents import Extent
from holdfast.core.point import CaptureKind, Consistency, PointDisk, RestorePoint
from holdfast.core.progress import Progress
from holdfast.mover.backup import Care, Road, back_up
from holdfast.mover.lent import StoredReader
from holdfast.repository import Repository, State


def record_birth(
    repository: Repository, point: RestorePoint, machine: Newborn, born_at: datetime, *, progress: Progress
) -> RestorePoint:
    """Commit that at `born_at` the machine's disks were those of the point, and by which marks later changes are told.

    Raises what `back_up` raises; then nothing is recorded.
    """
    birth = _Birth(repository, point, machine, born_at)
    care = Care(verify_share=0, proof_rounds=0)  # of the disks nothing is written
    is_other = machine.id != point.machine_id

    def describe(draft: RestorePoint, _state: State, now: datetime) -> RestorePoint:
        return replace(draft, created_at=now, parent=None if is_other else draft.parent)

    road = Road(verb="Recording the birth of", describe=describe)
    return back_up(birth, repository, parent=point, care=care, progress=progress, road=road).point


class _Birth:
    """A Capture of a machine whose disks are still a point's."""

    freeze_ms = None
    warnings: Sequence[str] = ()

    def __init__(self, repository: Repository, point: RestorePoint, machine: Newborn, born_at: datetime) -> None:
        self.machine = machine.name
        self.machine_id = machine.id
        self.captured_at = born_at
        self.consistency: Consistency = point.consistency
        self.definition: bytes | None = machine.definition
        nvram = point.definition.nvram
        self.nvram = None if nvram is None else repository.read_blob(nvram)
        marks = machine.marks
        self.disks = tuple(
            _UnchangedDisk(repository=repository, disk=disk, mark=dict(marks[disk.name])) for disk in point.disks
        )

    def confirm(self) -> None:
        """What is stored never changes."""

    def settle(self) -> Sequence[str]:
        """The marks are in place."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnchangedDisk:
    """A CapturedDisk that is a stored one."""

    repository: Repository
    disk: PointDisk
    mark: dict[str, Any] | None
    capture: CaptureKind = "incremental"

    @property
    def name(self) -> str:
        return self.disk.name

    @property
    def size_bytes(self) -> int:
        return self.disk.size_bytes

    @property
    def format(self) -> str:
        return "qcow2"

    @property
    def reason(self) -> str:
        return "made of a point, and recorded as it was then"

    def data(self) -> Iterable[Extent]:
        return [Extent(0, self.size_bytes)]

    def changes(self) -> Iterable[Extent]:
        return []

    def open_reader(self) -> StoredReader:
        return StoredReader(self.repository, self.repository.open_disk(self.disk.root))
