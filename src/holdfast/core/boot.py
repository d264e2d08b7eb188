"""Machines that run from backup: a point is served below overlays that take what the machine writes.

A port is its guarantees, as in `core/ports.py`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.extents import Extent
from holdfast.core.ports import MachinePlan, Platform
from holdfast.core.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a machine that runs from backup remembers of where it came from, for as long as it does.

    Its disks were those of the point at `born_at`. `socket` is where these are served, each under its name.
    """

    repository: str
    point: str
    machine: str
    born_at: datetime
    socket: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPlan:
    """A machine to run from a point that is served.

    `machine.disks` say what the overlays are to be. `owner` names the repository inside marks, as for a capture.
    `holes` are stretches of a disk that are known to be zeros: neither the machine nor who moves its disks home has to
    ask for them.
    """

    identity: str
    machine: MachinePlan
    origin: Origin
    owner: str
    holes: Mapping[str, Sequence[Extent]]


class BootingMachine(Protocol):
    """A machine that is to run from backup. Leaving its context before `start` has returned leaves nothing of it.

    One that stands in for its original is the original itself, and is then as it was before.
    """

    @property
    def overlays(self) -> Mapping[str, Path]:
        """The files that take what the machine writes, by disk: they are its disks once all has been moved home."""

    @property
    def warnings(self) -> Sequence[str]:
        """What will not be as it was on the original machine."""

    def prepare(self) -> None:
        """The disks are served: make the overlays and the machine's definition. All marks are in place then."""

    def start(self) -> None:
        """Switch it on."""

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newborn:
    """A machine that has come home: what a point of it needs, as of its birth."""

    id: str
    name: str
    definition: bytes
    marks: Mapping[str, Mapping[str, Any]]


class BootedMachine(Protocol):
    """A machine that runs from backup, or did and has not been told that this is over."""

    @property
    def id(self) -> str:
        """Its lasting identity."""

    @property
    def name(self) -> str:
        """Its label."""

    @property
    def origin(self) -> Origin:
        """Where it came from."""

    @property
    def former_disks(self) -> Sequence[str]:
        """Where the disks are that it had before it was booted in its own place; empty if it is a machine beside it."""

    @property
    def former_nvram(self) -> str | None:
        """Where the firmware variables are that it had, likewise."""

    def move_home(self, bytes_per_second: int | None, progress: Progress) -> int:
        """Bring all that is still only in the backup into the overlays, while the machine runs. Bytes that grew.

        Whatever ends it early, what has been moved stays, and a later call goes on from there. Afterwards neither the
        machine nor its images name the backup any more.
        """

    def newborn(self, sizes: Mapping[str, int]) -> Newborn:
        """What can be told of it for a point, in which its disks had these sizes."""

    def forget_origin(self) -> None:
        """It is a machine like any other from now on."""

    def discard(self) -> Sequence[Path]:
        """End it, and remove its overlays and the other files that were made for it: those that are returned.

        Its definition goes too; one that was booted in its own place gets back the disks that it had, and is off.
        """


class BootingPlatform(Platform, Protocol):
    """A platform whose machines can run from backup."""

    def runs_machines_as(self) -> tuple[int, int] | None:
        """User and group of the processes that run machines; None if they are our own."""

    def boot(self, plan: BootPlan) -> AbstractContextManager[BootingMachine]:
        """Check that the machine can be made. Refuses names and paths that exist (RefusedError)."""

    def stand_in(self, plan: BootPlan) -> AbstractContextManager[BootingMachine]:
        """The same for the machine `plan.identity` itself, which is off.

        In its definition overlays take the place of the plan's disks. Nothing that it has is written or removed.

        Raises RefusedError if it is not off or lacks a disk, ConflictError if it is being captured.
        """

    def booted(self, machine: str) -> BootedMachine | None:
        """The machine of this identity or name if it runs from backup. Raises as `find` does."""

    def all_booted(self) -> Sequence[BootedMachine]:
        """Every machine that does."""
