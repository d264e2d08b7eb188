"""Trial: a point's machine runs cut off from everything, is looked at, and what comes out is kept with the point."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.core.ending import stop_if_ending
from holdfast.core.errors import ConflictError
from holdfast.core.point import RestorePoint
from holdfast.core.ports import MachinePlan
from holdfast.core.progress import Progress
from holdfast.core.trial import TrialDisks, TrialMachine, TrialPlan, TrialPlatform
from holdfast.core.verification import CheckOutcome
from holdfast.jobs.budget import Budget
from holdfast.jobs.guest_checks import Expectations, boots, checks_inside, kernel_trouble
from holdfast.jobs.notes import Notes
from holdfast.jobs.recover import NewMachine, plan_machine
from holdfast.jobs.results import VerifiedPoint
from holdfast.mover import LARGEST_PICTURE_BYTES, keep_verification
from holdfast.repository import Repository

Serve = Callable[[Progress], AbstractContextManager[TrialDisks]]
"""Serves the point's disks while the context lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How points are tried: `scratch` takes what their machines write, and they share `memory`, in bytes."""

    scratch: Path
    memory: Budget
    expected: Expectations


def try_point(
    repository: Repository,
    point: RestorePoint,
    platform: TrialPlatform,
    trial: Trial,
    serve: Serve,
    *,
    progress: Progress,
) -> tuple[VerifiedPoint, bytes | None]:
    """Run the point's machine, look at it, and keep what came out. Also gives the picture (PNG), if there is a screen.

    Waits until there is memory for it. That a machine does not come up is an outcome. Raises RefusedError for a point
    without a definition, ConflictError for one that is on trial already, and what prevented the trial, an interruption
    too: then nothing is known of the point, and nothing is kept.
    """
    notes = Notes(progress)
    plan = _machine(repository, point)
    assert isinstance(plan.definition, bytes), "of a captured machine"
    with trial.memory.share(platform.memory_of(plan.definition)):
        stop_if_ending()
        began = time.monotonic()
        with (
            serve(notes) as disks,
            platform.trial(TrialPlan(machine=plan, socket=disks.socket, scratch=trial.scratch)) as machine,
        ):
            notes.add(machine.warnings)
            _start(point, machine, notes)
            outcomes = list(_outcomes(machine, trial.expected, notes))
            if not all(each.ok for each in outcomes):
                disks.answer_for_reads()
            picture = machine.screen()
    kept = picture
    if picture is not None and len(picture) > LARGEST_PICTURE_BYTES:
        notes.warning(f"the picture of {point.machine} is too large to be kept")
        kept = None
    stop_if_ending()
    keep_verification(repository, point, outcomes, kept, notes)
    verified = VerifiedPoint(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        ok=all(each.ok for each in outcomes),
        checks=tuple(outcomes),
        picture=kept is not None,
        seconds=round(time.monotonic() - began, 3),
        warnings=notes.warnings,
    )
    return verified, picture


def _start(point: RestorePoint, machine: TrialMachine, notes: Notes) -> None:
    """That this host cannot is nothing to be held against the point."""
    notes.step("Starting the machine, cut off from everything")
    try:
        machine.start()
    except ConflictError as error:
        message = f"point {point.id} of {point.machine} is on trial already"
        raise ConflictError(message, hint="wait until that trial has ended", code="on-trial") from error


def _outcomes(machine: TrialMachine, expected: Expectations, notes: Notes) -> Iterator[CheckOutcome]:
    """Look at a machine that was started; nothing more once it has not come up."""
    notes.step(f"Waiting for the guest (up to {expected.timeout_s:g} s)")
    booted = boots(machine, expected)
    yield booted
    if booted.ok:
        notes.step("Looking at the guest")
        if machine.has_agent:
            yield from checks_inside(machine, expected, notes)
        yield kernel_trouble(machine)
        if not machine.is_running():
            yield CheckOutcome(name="running", ok=False, detail="it ended or stopped while it was looked at")


def _machine(repository: Repository, point: RestorePoint) -> MachinePlan:
    repository.records.load_index()
    name = f"holdfast-trial-{point.id}"
    nowhere = NewMachine(name=name, storage={}, networks={}, start=True, agent_timeout_s=0)
    machine = plan_machine(repository, point, nowhere)
    return replace(machine, disks=[replace(disk, format="qcow2") for disk in machine.disks])
