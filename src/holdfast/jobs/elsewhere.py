"""Elsewhere: a point's disks in the formats of others, or all of a machine in one file, each written just once."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from holdfast.core.appliance import Appliance
from holdfast.core.point import RestorePoint
from holdfast.core.ports import TargetDisk
from holdfast.core.progress import Progress
from holdfast.core.selection import select_disk
from holdfast.jobs.hold import held
from holdfast.jobs.notes import Notes
from holdfast.jobs.recover import fill
from holdfast.jobs.results import ExportResult, RestoredDisk
from holdfast.mover import RestoreOutcome, stream_disk
from holdfast.repository import Repository


class Export:
    """One export of a point."""

    def __init__(self, repository: Repository, point: RestorePoint, progress: Progress) -> None:
        self._began = time.monotonic()
        self._repository = repository
        self._point = point
        self._notes = Notes(progress)

    def to_images(self, targets: Mapping[str, TargetDisk], image_format: str, output: Path) -> ExportResult:
        """Write disks by name. Whatever ends the work early, nothing looks whole."""
        with ExitStack() as unless_finished:
            for target in targets.values():
                unless_finished.callback(target.abandon)
            with held(self._repository, self._point, self._notes):
                outcomes = [self._to_image(name, target) for name, target in targets.items()]
            for target in targets.values():
                target.finish()
            unless_finished.pop_all()
        places = {name: target.output for name, target in targets.items()}
        return self._result(image_format, str(output), places, outcomes)

    def to_appliance(self, prepared: AbstractContextManager[Appliance]) -> ExportResult:
        """Write all disks into one file."""
        outcomes: list[RestoreOutcome] = []
        with held(self._repository, self._point, self._notes), prepared as appliance:
            for disk in self._point.disks:
                with appliance.add_disk(disk.name) as target:
                    outcomes.append(stream_disk(self._repository, disk, target, progress=self._notes))
            appliance.finish()
        places = {disk.name: appliance.output for disk in self._point.disks}
        return self._result("ova", appliance.output, places, outcomes)

    def _to_image(self, name: str, target: TargetDisk) -> RestoreOutcome:
        self._notes.step(f"Exporting {name}")
        disk = select_disk(self._point, name)
        return fill(self._repository, disk, target, self._notes)

    def _result(
        self, image_format: str, output: str, places: Mapping[str, str], outcomes: list[RestoreOutcome]
    ) -> ExportResult:
        return ExportResult(
            point=self._point.id,
            machine=self._point.machine,
            machine_id=self._point.machine_id,
            format=image_format,
            output=output,
            disks=tuple(RestoredDisk(name=name, output=place) for name, place in places.items()),
            read_bytes=sum(outcome.read_bytes for outcome in outcomes),
            written_bytes=sum(outcome.written_bytes for outcome in outcomes),
            seconds=round(time.monotonic() - self._began, 3),
            warnings=self._notes.warnings,
        )
