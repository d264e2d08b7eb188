"""Boot: run a machine straight from a point, and move its disks home underneath it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from holdfast.core.boot import BootedMachine, BootingMachine, BootPlan, Origin
from holdfast.core.errors import HoldfastError
from holdfast.core.extents import Extent, complement, normalise
from holdfast.core.mount import Mount
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import DiskPlan
from holdfast.core.progress import Progress
from holdfast.jobs.hold import held, require_not_purged
from holdfast.jobs.notes import Notes
from holdfast.jobs.recover import NewMachine, plan_machine
from holdfast.jobs.results import BootResult, HomeResult, RestoredDisk
from holdfast.jobs.switch_on import await_agent
from holdfast.mover import record_birth
from holdfast.repository import Repository


class Service(Protocol):
    """What can serve a point's disks to one machine."""

    @property
    def identity(self) -> str:
        """The machine's lasting identity."""

    @property
    def socket(self) -> Path:
        """Where it serves."""

    def begin(self, progress: Progress) -> Mount:
        """Serve, whatever becomes of us, until `end`. Nothing is left if it raises."""

    def end(self) -> None:
        """Serve no more, and hold the point no more."""


def boot_machine(
    repository: Repository,
    point: RestorePoint,
    prepare: Callable[[BootPlan], AbstractContextManager[BootingMachine]],
    wanted: NewMachine,
    service: Service,
    *,
    progress: Progress,
) -> BootResult:
    """Run a machine from a point, as the platform's `boot` or `stand_in` prepares it.

    Whatever fails before it has been started, nothing is left of it, or it is as it was before.

    Raises RefusedError for a point without a definition, and what the platform and the service raise.
    """
    began = time.monotonic()
    notes = Notes(progress)
    with ExitStack() as undo:
        undo.enter_context(held(repository, point, notes))
        machine = undo.enter_context(prepare(_plan(repository, point, wanted, service)))
        notes.add(machine.warnings)
        notes.step("Serving its disks")
        mount = service.begin(notes)
        ending = undo.enter_context(ExitStack())
        ending.callback(service.end)
        machine.prepare()
        notes.step("Starting the machine")
        machine.start()
        ending.pop_all()
        seconds = time.monotonic() - began
        seconds_to_agent = await_agent(machine, wanted.name, wanted.agent_timeout_s, point, notes)
    return BootResult(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        output=wanted.name,
        restored_id=service.identity,
        mount=mount.id,
        disks=tuple(RestoredDisk(name=name, output=str(path)) for name, path in machine.overlays.items()),
        seconds=round(seconds, 3),
        started=True,
        seconds_to_agent=seconds_to_agent,
        warnings=notes.warnings,
    )


def bring_home(
    repository: Repository,
    machine: BootedMachine,
    bytes_per_second: int | None,
    end_service: Callable[[], None],
    *,
    progress: Progress,
) -> HomeResult:
    """Move a machine's disks home while it runs; then it needs nothing of the repository, and is told so.

    Whatever ends it early, the machine goes on, and the next call goes on from there. Raises FailedError or FullError
    if not all could be moved.
    """
    began = time.monotonic()
    notes = Notes(progress)
    written = machine.move_home(bytes_per_second, notes)
    recorded = _record(repository, machine, notes)
    former_disks, former_nvram = tuple(machine.former_disks), machine.former_nvram
    machine.forget_origin()
    end_service()
    return HomeResult(
        machine=machine.name,
        machine_id=machine.id,
        point=machine.origin.point,
        recorded=None if recorded is None else recorded.id,
        written_bytes=written,
        former_disks=former_disks,
        former_nvram=former_nvram,
        seconds=round(time.monotonic() - began, 3),
        warnings=notes.warnings,
    )


def _record(repository: Repository, machine: BootedMachine, notes: Notes) -> RestorePoint | None:
    """Make the machine's next backup an increment; that this fails costs that backup time, and nothing else."""
    origin = machine.origin
    newest = repository.newest_of(machine.id)
    if newest is not None and newest.captured_at >= origin.born_at:
        return None
    try:
        point = repository.state().standings[origin.point].point
        newborn = machine.newborn({disk.name: disk.size_bytes for disk in point.disks})
        return record_birth(repository, point, newborn, origin.born_at, progress=notes)
    except (HoldfastError, KeyError) as error:
        said = error.message if isinstance(error, HoldfastError) else f"point {origin.point} is gone"
        notes.warning(f"the next backup of {machine.name} reads everything: {said}")
        return None


def _plan(repository: Repository, point: RestorePoint, wanted: NewMachine, service: Service) -> BootPlan:
    require_not_purged(repository, point)
    repository.records.load_index()
    machine = plan_machine(repository, point, wanted)
    disks = [DiskPlan(name=disk.name, size_bytes=disk.size_bytes, format="qcow2") for disk in point.disks]
    return BootPlan(
        identity=service.identity,
        machine=replace(machine, disks=disks),
        origin=Origin(
            repository=repository.storage.url,
            point=point.id,
            machine=point.machine,
            born_at=datetime.now(UTC),
            socket=service.socket,
        ),
        owner=repository.id[:8],
        holes={disk.name: list(_holes(repository, disk)) for disk in point.disks},
    )


def _holes(repository: Repository, disk: PointDisk) -> Iterator[Extent]:
    """The regions of which the repository holds nothing, joined: only pages of the tree are read to find them."""
    stored = repository.open_disk(disk.root)
    held = normalise(stored.region(number) for number, leaf in stored.leaves() if leaf)
    return complement(held, Extent(0, stored.size_bytes))
