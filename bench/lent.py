"""A machine of nothing but disks that a measurement makes up, lent to the mover through the platform's ports."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from bench.synthetic import Edit
from holdfast.core.extents import Extent, normalise
from holdfast.core.point import CaptureKind, Consistency, RestorePoint
from holdfast.core.ports import CapturedDisk
from holdfast.core.progress import Silence
from holdfast.mover import Care, back_up
from holdfast.repository import Repository

DISK = "vda"


@dataclass(frozen=True, slots=True, kw_only=True)
class LentCapture:
    """Disks as of now."""

    machine: str
    disks: Sequence[CapturedDisk]
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    consistency: Consistency = "crash"
    freeze_ms: float | None = None
    definition: bytes | None = None
    nvram: bytes | None = None
    warnings: Sequence[str] = ()

    @property
    def machine_id(self) -> str:
        return self.machine

    def confirm(self) -> None:
        """Nothing changes meanwhile."""

    def settle(self) -> Sequence[str]:
        return ()


class LentImage:
    """An image, with what was written since the last point; all of it is data."""

    name = DISK
    format = "raw"
    reason = ""
    mark: dict[str, Any] | None = None

    def __init__(self, file: BinaryIO, written: Sequence[Extent] | None) -> None:
        self.size_bytes = os.fstat(file.fileno()).st_size
        self.capture: CaptureKind = "full" if written is None else "incremental"
        self._file = file
        self._written = written

    def data(self) -> Iterator[Extent]:
        yield Extent(0, self.size_bytes)

    def changes(self) -> Sequence[Extent] | None:
        return self._written

    def open_reader(self) -> "LentImage":
        return self

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if os.preadv(self._file.fileno(), [buffer], offset) != len(buffer):
            raise OSError(f"the image is too short at {offset}")

    def close(self) -> None:
        pass


def write_and_keep(
    repository: Repository, machine: str, file: BinaryIO, parent: RestorePoint | None, edits: Sequence[Edit]
) -> RestorePoint:
    """Write to an image, and make the next point of it; without a parent the first one."""
    for edit in edits:
        os.pwrite(file.fileno(), edit.content(), edit.offset)
    return keep(repository, machine, file, parent, [Extent(edit.offset, edit.end) for edit in edits])


def keep(
    repository: Repository, machine: str, file: BinaryIO, parent: RestorePoint | None, changes: Sequence[Extent]
) -> RestorePoint:
    """Make the next point of an image that was written to; without a parent the first one."""
    written = normalise(changes)
    capture = LentCapture(machine=machine, disks=[LentImage(file, written if parent else None)])
    trusting = Care(proof_rounds=0)  # what else it reads only to compare changes nothing of what is stored
    return back_up(capture, repository, parent=parent, care=trusting, progress=Silence()).point
