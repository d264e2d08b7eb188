"""Recover: write a point's disks somewhere new, and make a machine of them. Nothing half-made is left looking whole."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.core.errors import RefusedError, UsageError
from holdfast.core.machine import Hardware
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import DiskPlan, MachinePlan, NewDisk, Platform, TargetDisk
from holdfast.core.progress import Progress
from holdfast.core.selection import select_disk
from holdfast.jobs.hold import held
from holdfast.jobs.notes import Notes
from holdfast.jobs.results import RestoredDisk, RestoreResult
from holdfast.jobs.switch_on import await_agent, start
from holdfast.mover import RestoreOutcome, equalise_disk, opening, restore_disk
from holdfast.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMachine:
    """What a recovered machine is to be. `storage` maps disks to directories ("" = all), `networks` old to new.

    `resumable`: go on with what an earlier try left of its disks, and leave them if this one fails. `buses` puts disks
    ("" = all) on other controllers. `hardware` is for a point that holds disks only.
    A machine that is to start is then given `agent_timeout_s` seconds for its guest agent to answer.
    """

    name: str
    storage: Mapping[str, Path]
    networks: Mapping[str, str]
    start: bool
    agent_timeout_s: float
    resumable: bool = False
    buses: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware | None = None


def recover_disk(
    repository: Repository, point: RestorePoint, disk: PointDisk, target: TargetDisk, *, progress: Progress
) -> RestoreResult:
    """Write one disk. Whatever ends the work early, the target is abandoned: only a whole disk gets its name."""
    began = time.monotonic()
    notes = Notes(progress)
    try:
        with held(repository, point, notes):
            outcome = _fill(repository, disk, target, notes)
            target.finish()
    except BaseException:
        target.abandon()
        raise
    restored = RestoredDisk(name=disk.name, output=target.output)
    return _one_disk(point, restored, outcome, seconds=time.monotonic() - began, warnings=notes.warnings)


def add_disk(
    repository: Repository,
    point: RestorePoint,
    disk: PointDisk,
    prepared: AbstractContextManager[NewDisk],
    *,
    progress: Progress,
) -> RestoreResult:
    """Give a machine a further disk that holds what one of a point does.

    Raises what the platform and the data path raise; nothing is left then.
    """
    began = time.monotonic()
    notes = Notes(progress)
    with held(repository, point, notes), prepared as added:
        outcome = _fill(repository, disk, added.target, notes)
        added.target.finish()
        name = added.attach()
    restored = RestoredDisk(name=name, output=added.target.output)
    result = _one_disk(point, restored, outcome, seconds=time.monotonic() - began, warnings=notes.warnings)
    return replace(result, restored_id=added.machine_id)


def _one_disk(
    point: RestorePoint, disk: RestoredDisk, outcome: RestoreOutcome, *, seconds: float, warnings: tuple[str, ...]
) -> RestoreResult:
    return RestoreResult(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        output=disk.output,
        restored_id=None,
        disks=(disk,),
        read_bytes=outcome.read_bytes,
        written_bytes=outcome.written_bytes,
        seconds=round(seconds, 3),
        started=False,
        seconds_to_agent=None,
        warnings=warnings,
    )


def recover_machine(
    repository: Repository, point: RestorePoint, platform: Platform, wanted: NewMachine, *, progress: Progress
) -> RestoreResult:
    """Make a new machine of a point. What was made for it is removed again unless it could be defined.

    Raises RefusedError for a point without a definition, NotFoundError where `storage` names a disk it has not, and
    what the platform and the data path raise.
    """
    began = time.monotonic()
    notes = Notes(progress)
    with held(repository, point, notes), platform.recreate(plan_machine(repository, point, wanted)) as machine:
        notes.add(machine.warnings)
        outcomes = [_fill(repository, disk, machine.disks[disk.name], notes) for disk in point.disks]
        for target in machine.disks.values():
            target.finish()
        notes.step("Defining the machine")
        restored_id = machine.define()
        if wanted.start:
            start(machine, wanted.name)
        seconds = time.monotonic() - began
        seconds_to_agent = None
        if wanted.start:
            seconds_to_agent = await_agent(machine, wanted.name, wanted.agent_timeout_s, point, notes)
        outputs = {name: target.output for name, target in machine.disks.items()}
    return RestoreResult(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        output=wanted.name,
        restored_id=restored_id,
        disks=tuple(RestoredDisk(name=disk.name, output=outputs[disk.name]) for disk in point.disks),
        read_bytes=sum(outcome.read_bytes for outcome in outcomes),
        written_bytes=sum(outcome.written_bytes for outcome in outcomes),
        seconds=round(seconds, 3),
        started=wanted.start,
        seconds_to_agent=seconds_to_agent,
        warnings=notes.warnings,
    )


def _fill(repository: Repository, disk: PointDisk, target: TargetDisk, progress: Progress) -> RestoreOutcome:
    progress.step(f"{'Restoring' if target.left_over is None else 'Completing'} {disk.name}")
    return fill(repository, disk, target, progress)


def fill(repository: Repository, disk: PointDisk, target: TargetDisk, progress: Progress) -> RestoreOutcome:
    """Write a disk onto zeros, or what it lacks onto whatever the target holds."""
    if target.left_over is None:
        return restore_disk(repository, disk, target, progress=progress)
    with opening(repository, disk) as stored:
        outcome = equalise_disk(repository, stored, target.left_over, None, progress)
    return RestoreOutcome(read_bytes=outcome.read_bytes, written_bytes=outcome.different_bytes)


def plan_machine(repository: Repository, point: RestorePoint, wanted: NewMachine) -> MachinePlan:
    """The machine that a point is to become. Raises RefusedError if the point holds disks only, NotFoundError."""
    if point.definition.xml is None and wanted.hardware is None:
        raise RefusedError(
            f"point {point.id} of {point.machine} holds disks only, no machine's definition",
            hint="say what machine they are to get (--memory 4GiB), or bring back the disks: holdfast restore disk",
            code="no-definition",
        )
    if point.definition.xml is not None and wanted.hardware is not None:
        raise UsageError(
            f"point {point.id} says itself what machine it is of", hint="leave out --memory, --cpus and --firmware"
        )
    _check_names(point, [*wanted.storage, *wanted.buses])
    nvram = point.definition.nvram
    return MachinePlan(
        name=wanted.name,
        definition=wanted.hardware or repository.read_blob(point.definition.xml or ""),
        nvram=None if nvram is None else repository.read_blob(nvram),
        disks=[DiskPlan.of(disk) for disk in point.disks],
        storage=wanted.storage,
        networks=wanted.networks,
        buses=wanted.buses,
        resumable=wanted.resumable,
    )


def _check_names(point: RestorePoint, disks: Iterable[str]) -> None:
    for name in disks:
        if name:
            select_disk(point, name)
