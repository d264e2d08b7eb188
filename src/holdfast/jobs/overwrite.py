"""Overwrite: make the disks of a machine that exists what they were at a point, by writing only what differs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import Baseline, DiskPlan, Platform, StandingDisk
from holdfast.core.progress import Progress
from holdfast.jobs.hold import held
from holdfast.jobs.notes import Notes
from holdfast.jobs.original import find_machine
from holdfast.jobs.results import OverwriteResult, OverwrittenDisk
from holdfast.jobs.switch_on import await_agent, start
from holdfast.mover import DifferenceOutcome, compare_disk, equalise_disk, may_differ, opening
from holdfast.repository import Repository, StoredDisk

_Disk = TypeVar("_Disk", bound=StandingDisk)
_Act = Callable[[Repository, StoredDisk, _Disk, list[Extent] | None, Progress], DifferenceOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overwriting:
    """Which disks of the machine `machine_id` become which disks of `point`, by the machine's names for them.

    `nvram` is the id of the firmware variables to set, None to leave them.
    """

    point: RestorePoint
    machine_id: str
    disks: Mapping[str, PointDisk]
    nvram: str | None

    @classmethod
    def whole(cls, point: RestorePoint) -> "Overwriting":
        """All of the point onto its own machine."""
        disks = {disk.name: disk for disk in point.disks}
        return cls(point=point, machine_id=point.machine_id, disks=disks, nvram=point.definition.nvram)

    @classmethod
    def one(cls, point: RestorePoint, disk: PointDisk, machine_id: str, name: str) -> "Overwriting":
        """One disk onto the disk `name` of a machine, its own or another."""
        return cls(point=point, machine_id=machine_id, disks={name: disk}, nvram=None)

    @property
    def plans(self) -> list[DiskPlan]:
        """The disks as a platform is asked for them."""
        return [DiskPlan.of(disk, name) for name, disk in self.disks.items()]


def preview_overwrite(
    repository: Repository, wanted: Overwriting, platform: Platform, *, progress: Progress
) -> OverwriteResult:
    """What `overwrite_machine` would write now; nothing is written. Raises as it does."""
    run = _Run(repository, wanted, progress)
    machine_id = find_machine(platform, wanted.machine_id, wanted.point)
    with run.held() as baseline, platform.examine(machine_id, wanted.plans, baseline) as machine:
        run.notes.add(machine.warnings)
        for disk in machine.disks.values():
            run.visit(disk, "Comparing", compare_disk)
        return run.result(machine.name, dry_run=True)


def overwrite_machine(
    repository: Repository,
    wanted: Overwriting,
    platform: Platform,
    *,
    agent_timeout_s: float | None,
    progress: Progress,
) -> OverwriteResult:
    """Make the machine's disks equal to the point's; it is switched on then if `agent_timeout_s` is given.

    What ends the work in the middle leaves a machine that can be neither started nor backed up until it is overwritten
    again, by any point. Raises NotFoundError if it is not there, and what the platform and the data path raise.
    """
    run = _Run(repository, wanted, progress)
    machine_id = find_machine(platform, wanted.machine_id, wanted.point)
    with run.held() as baseline, platform.overwrite(machine_id, wanted.plans, baseline, run.notes) as machine:
        run.notes.add(machine.warnings)
        nvram = None if wanted.nvram is None else repository.read_blob(wanted.nvram)
        for disk in machine.disks.values():
            run.visit(disk, "Restoring", equalise_disk)
        run.notes.step("Making it durable")
        machine.finish(nvram)
        if agent_timeout_s is not None:
            start(machine, machine.name)
        result = run.result(machine.name, dry_run=False)
        if agent_timeout_s is None:
            return result
        seconds = await_agent(machine, machine.name, agent_timeout_s, wanted.point, run.notes)
        return replace(result, started=True, seconds_to_agent=seconds, warnings=run.notes.warnings)


class _Run:
    """One comparison of a machine with a point."""

    def __init__(self, repository: Repository, wanted: Overwriting, progress: Progress) -> None:
        self._began = time.monotonic()
        self._repository = repository
        self._wanted = wanted
        self._newest = repository.newest_of(wanted.machine_id)
        self._disks: list[OverwrittenDisk] = []
        self._read_bytes = 0
        self.notes = Notes(progress)

    @contextmanager
    def held(self) -> Iterator[Baseline | None]:
        """Both points are held within: the wanted one, and the one that the machine's marks are of."""
        with ExitStack() as holds:
            holds.enter_context(held(self._repository, self._wanted.point, self.notes))
            if self._newest is not None and self._newest.id != self._wanted.point.id:
                holds.enter_context(held(self._repository, self._newest, self.notes))
            yield Baseline.of(self._newest) if self._newest else None

    def visit(self, disk: _Disk, verb: str, act: _Act[_Disk]) -> None:
        """Compare one disk, or make it equal."""
        self.notes.step(f"{verb} {disk.name}")
        with opening(self._repository, self._wanted.disks[disk.name]) as stored:
            changed = self._may_differ(stored, disk)
            outcome = act(self._repository, stored, disk, changed, self.notes)
        self._read_bytes += outcome.read_bytes
        self._disks.append(
            OverwrittenDisk(
                name=disk.name,
                tracked=changed is not None,
                reason=disk.reason,
                size_bytes=disk.size_bytes,
                compared_bytes=outcome.compared_bytes,
                different_bytes=outcome.different_bytes,
                extents=outcome.extents,
            )
        )

    def _may_differ(self, stored: StoredDisk, disk: StandingDisk) -> list[Extent] | None:
        before = self._newest.disk(disk.name) if self._newest else None
        try:
            return may_differ(self._repository, stored, disk, before.root if before else None)
        except DamagedError as damage:
            self.notes.warning(f"disk {disk.name} is compared as a whole: {damage.message}")
            return None

    def result(self, machine: str, *, dry_run: bool) -> OverwriteResult:
        """What has come of it so far."""
        point = self._wanted.point
        return OverwriteResult(
            point=point.id,
            machine=point.machine,
            machine_id=point.machine_id,
            output=machine,
            restored_id=self._wanted.machine_id,
            dry_run=dry_run,
            disks=tuple(self._disks),
            read_bytes=self._read_bytes,
            written_bytes=0 if dry_run else sum(disk.different_bytes for disk in self._disks),
            seconds=round(time.monotonic() - self._began, 3),
            started=False,
            seconds_to_agent=None,
            warnings=self.notes.warnings,
        )
