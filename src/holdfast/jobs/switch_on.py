"""Switching a recovered machine on, and waiting for its guest agent."""

from holdfast.core.boot import BootingMachine
from holdfast.core.errors import FailedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.ports import EditableMachine, TargetMachine
from holdfast.jobs.notes import Notes


def start(machine: TargetMachine | EditableMachine, name: str) -> None:
    """Switch it on. Raises FailedError: it is restored all the same."""
    try:
        machine.start()
    except HoldfastError as error:
        raise FailedError(
            f"{name} is restored and defined, but does not start: {error.message}",
            hint=error.hint or "its disks are whole: repair its definition and start it by hand",
            code="not-started",
        ) from error


def await_agent(
    machine: TargetMachine | EditableMachine | BootingMachine,
    name: str,
    timeout_s: float,
    point: RestorePoint,
    notes: Notes,
) -> float | None:
    """Seconds from the start until the guest agent answered; None, and a warning if one was to be expected."""
    notes.step("Waiting for the guest agent")
    seconds = machine.wait_for_agent(timeout_s)
    if seconds is not None:
        return round(seconds, 3)
    if point.consistency != "crash":  # the guest had an agent when it was captured
        notes.warning(f"{name} runs, but its guest agent did not answer in {timeout_s:g} s")
    return None
