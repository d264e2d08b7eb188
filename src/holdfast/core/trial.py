"""Recovering on trial: a machine runs from a point, cut off from everything, is looked at, and is gone again.

A port is its guarantees, as in `core/ports.py`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.core.boot import BootingPlatform
from holdfast.core.guest import Executed, Guest
from holdfast.core.ports import MachinePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """A machine to be tried. Its disks are served at `socket`, each under its name; `scratch` takes what it writes.

    `machine.storage` and `machine.networks` say nothing: it has no place of its own, and no network.
    """

    machine: MachinePlan
    socket: Path
    scratch: Path


class TrialDisks(Protocol):
    """The disks of a point, served to its machine on trial."""

    @property
    def socket(self) -> Path:
        """Where."""

    def answer_for_reads(self) -> None:
        """Raise UnreachableError if the machine went without what it read though the point has it: all it saw is void.

        What the point has not is damage, and its own affair.
        """


class TrialMachine(Protocol):
    """A machine on trial. With its context it ends, and nothing is left of it, however that ends."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is not as it was on the original machine."""

    @property
    def has_agent(self) -> bool:
        """Whether its definition has a channel for a guest agent."""

    def start(self) -> None:
        """Switch it on. Raises ConflictError if a machine of its name runs already."""

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it does not within `timeout_s` from now."""

    def is_running(self) -> bool:
        """Whether it has neither ended nor been paused by an error.

        Raises FullError if it stands still since there is no space for what it writes, UnreachableError.
        """

    def console(self) -> str:
        """What it has printed to its first serial port so far, and what stands on its screen, if that is text."""

    def screen(self) -> bytes | None:
        """A PNG of its screen; None if it has none."""

    def read(self, path: str, limit_bytes: int) -> str:
        """The beginning of a file in the guest, through the agent. Raises GuestError."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        """Run a program in the guest, through the agent. Raises GuestError, also if it does not end in time."""


class TrialPlatform(BootingPlatform, Protocol):
    """A platform that can try a machine."""

    def guest(self, machine_id: str) -> Guest:
        """A running machine's guest. Raises NotFoundError; RefusedError if it is off or its agent does not answer."""

    def memory_of(self, definition: bytes) -> int:
        """Bytes of memory that a machine of this definition takes."""

    def trial(self, plan: TrialPlan) -> AbstractContextManager[TrialMachine]:
        """A machine that reaches no network, no host and no disk but its own copies."""
