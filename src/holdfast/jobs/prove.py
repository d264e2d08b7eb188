"""Prove: read all that a point holds, each byte by its id, and keep nothing."""

import time
from collections.abc import Sequence

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.sizes import size_text
from holdfast.core.verification import CheckOutcome
from holdfast.jobs.hold import held
from holdfast.jobs.notes import Notes
from holdfast.jobs.results import VerifiedPoint
from holdfast.mover import restore_disk
from holdfast.repository import Repository


def prove_point(repository: Repository, point: RestorePoint, *, progress: Progress) -> VerifiedPoint:
    """Read each disk of a point and its definition as a restore would. Damage is an outcome, not an error."""
    began = time.monotonic()
    notes = Notes(progress)
    with held(repository, point, notes):
        repository.records.load_index()
        outcomes = [_definition(repository, point)] if point.definition.xml else []
        for disk in point.disks:
            notes.step(f"Verifying {disk.name}")
            try:
                outcome = restore_disk(repository, disk, _Nowhere(disk.name), progress=notes)
            except DamagedError as error:
                outcomes.append(CheckOutcome(name=f"disk {disk.name}", ok=False, detail=error.message))
            else:
                detail = f"{size_text(outcome.written_bytes)} read and proved"
                outcomes.append(CheckOutcome(name=f"disk {disk.name}", ok=True, detail=detail))
    return VerifiedPoint(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        ok=all(each.ok for each in outcomes),
        checks=tuple(outcomes),
        picture=False,
        seconds=round(time.monotonic() - began, 3),
        warnings=notes.warnings,
    )


def _definition(repository: Repository, point: RestorePoint) -> CheckOutcome:
    try:
        for blob in (point.definition.xml, point.definition.nvram):
            if blob is not None:
                repository.read_blob(blob)
    except DamagedError as error:
        return CheckOutcome(name="definition", ok=False, detail=error.message)
    return CheckOutcome(name="definition", ok=True, detail="read and proved")


class _Nowhere:
    """A TargetDisk, and its writers, of which nothing is kept."""

    left_over = None

    def __init__(self, name: str) -> None:
        self.output = name

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Nothing takes no room."""

    def open_writer(self) -> "_Nowhere":
        """All threads may share it."""
        return self

    def write(self, offset: int, *pieces: memoryview) -> None:
        """It was proved; that is all that was wanted."""

    def finish(self) -> None:
        """There is nothing to finish."""

    def abandon(self) -> None:
        """There is nothing to remove."""

    def close(self) -> None:
        """There is nothing to hand over."""
