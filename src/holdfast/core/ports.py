"""The ports between the data path and the platforms: a platform lends disks, and takes disks to make a machine of.

A port is its guarantees; `tests/contract` holds one suite per port that every implementation passes.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

from holdfast.core.extents import Extent
from holdfast.core.machine import Hardware, MachineInfo
from holdfast.core.point import CaptureKind, Consistency, PointDisk, RestorePoint
from holdfast.core.progress import Progress


class BlockReader(Protocol):
    """Random reads from one captured disk. Used by one thread; two readers of one disk may run side by side."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill all of `buffer` from byte `offset`. Raises FailedError naming disk and offset; never short."""

    def close(self) -> None:
        """Give the reader back. May be called twice."""


class CapturedDisk(Protocol):
    """A disk as of the instant of its capture; every read, early or late, sees that instant."""

    @property
    def name(self) -> str:
        """The disk's name inside its machine, for instance `vda`."""

    @property
    def size_bytes(self) -> int:
        """Virtual size, exact."""

    @property
    def format(self) -> str:
        """`raw` or `qcow2`: what the disk was stored as, so that a restore can offer the same."""

    @property
    def capture(self) -> CaptureKind:
        """Whether `changes` tells changes since the baseline."""

    @property
    def reason(self) -> str:
        """Why the capture is of that kind, in words for the user."""

    @property
    def mark(self) -> dict[str, Any] | None:
        """What the next capture needs as this disk's baseline (JSON values only)."""

    def data(self) -> Iterable[Extent]:
        """Extents that may hold non-zero bytes, in normal form. Everything else reads as zeros."""

    def changes(self) -> Iterable[Extent] | None:
        """Extents that may differ from the baseline, in normal form; None if that is not known.

        A disk that has grown lists what it grew by. Bytes in no extent are equal to the baseline's.
        """

    def open_reader(self) -> BlockReader:
        """A new reader with a connection of its own."""


class Capture(Protocol):
    """All disks of one machine as of one instant. Lives until its context ends."""

    @property
    def machine(self) -> str:
        """The machine's label."""

    @property
    def machine_id(self) -> str:
        """The machine's lasting identity."""

    @property
    def captured_at(self) -> datetime:
        """The instant, aware, UTC."""

    @property
    def consistency(self) -> Consistency:
        """What the guest was asked to do before the instant."""

    @property
    def freeze_ms(self) -> float | None:
        """Freeze call sent to thaw returned, in milliseconds; None if nothing was frozen."""

    @property
    def definition(self) -> bytes | None:
        """The machine's definition, enough to make it again."""

    @property
    def nvram(self) -> bytes | None:
        """Firmware variables, if the machine has any."""

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        """At least one disk, names unique."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the user must know about this capture."""

    def confirm(self) -> None:
        """Raise FailedError unless everything read so far belongs to the instant. Called right before the commit."""

    def settle(self) -> Sequence[str]:
        """The point is committed: keep the new mark, drop the one before. Returns warnings, never fails the backup.

        A capture whose context ends without `settle` leaves the baseline's mark as it was and no mark of its own.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the capture may build on: the newest live point of the machine, per disk its size and mark."""

    point: str
    sizes: Mapping[str, int]
    marks: Mapping[str, dict[str, Any] | None]

    @classmethod
    def of(cls, point: RestorePoint) -> Self:
        """What a point offers to build on."""
        return cls(
            point=point.id,
            sizes={disk.name: disk.size_bytes for disk in point.disks},
            marks={disk.name: disk.mark for disk in point.disks},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """How to capture. `owner` names the repository inside marks (8 hex digits); times in seconds, sizes in bytes."""

    owner: str
    quiesce: bool = True
    require_quiesce: bool = False
    freeze_timeout_s: float = 5.0
    scratch: Path | None = None
    scratch_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """A disk that a restore is to write."""

    name: str
    size_bytes: int
    format: str

    @classmethod
    def of(cls, disk: PointDisk, name: str = "") -> Self:
        """One like a point's, under its own name or another."""
        return cls(name=name or disk.name, size_bytes=disk.size_bytes, format=disk.format)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """A machine that a restore is to make. `storage` and `networks` map disk names ("" = all) and source networks.

    `definition` is the captured one, or, where there is none, what the machine is to be. `buses` puts disks ("" = all)
    on other controllers. `resumable`: go on with what an earlier try left of its disks, and leave them if it fails.
    """

    name: str
    definition: bytes | Hardware
    nvram: bytes | None
    disks: Sequence[DiskPlan]
    storage: Mapping[str, Path]
    networks: Mapping[str, str]
    buses: Mapping[str, str] = field(default_factory=dict)
    resumable: bool = False


class BlockWriter(Protocol):
    """Random writes to one disk that is being restored. Used by one thread; several may run side by side."""

    def write(self, offset: int, *pieces: memoryview) -> None:
        """Write all of these, one behind the other, from byte `offset` on.

        Raises FullError or FailedError naming the output and offset.
        """

    def close(self) -> None:
        """Hand over what was written. Raises like `write`. May be called twice."""


class TargetDisk(Protocol):
    """A disk being restored, under a name that shows it is not whole until `finish` gives it its own.

    It starts as all zeros, so only non-zero bytes need writing, unless it is `left_over`.
    """

    @property
    def output(self) -> str:
        """Where the finished disk will be."""

    @property
    def left_over(self) -> "EditableDisk | None":
        """What an earlier restore left, to be made equal instead of being written anew; None if it is all zeros."""

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Make room where much is about to be written, if that helps. Raises FullError if there is none."""

    def open_writer(self) -> BlockWriter:
        """A new writer for one thread. All writers are closed before `finish`."""

    def finish(self) -> None:
        """Make it durable and give it its final name. Refuses to replace anything that appeared there meanwhile."""

    def abandon(self) -> None:
        """Remove what was written, or leave it to be resumed. May be called after `finish` failed; never raises."""


class TargetMachine(Protocol):
    """A machine being restored. Leaving its context without `define` removes everything that was made for it."""

    @property
    def disks(self) -> Mapping[str, TargetDisk]:
        """The disks to fill, by name."""

    @property
    def warnings(self) -> Sequence[str]:
        """What will not be as it was on the original machine."""

    def define(self) -> str:
        """All disks are finished: make the machine known to its platform. Returns its new lasting identity."""

    def start(self) -> None:
        """Switch it on."""

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time."""


class NewDisk(Protocol):
    """A disk that is to be added to a machine. Leaving its context without `attach` removes what was made for it."""

    @property
    def machine_id(self) -> str:
        """The machine's lasting identity."""

    @property
    def target(self) -> TargetDisk:
        """The disk to fill."""

    def attach(self) -> str:
        """It is finished: give it to the machine, whatever its state. Returns the disk's name there."""


class StandingDisk(Protocol):
    """A disk of a machine that is off, as it stands, to be compared with a stored one."""

    @property
    def name(self) -> str:
        """The disk's name inside its machine."""

    @property
    def size_bytes(self) -> int:
        """Virtual size, exact."""

    @property
    def reason(self) -> str:
        """Why `changes` are known, or are not, in words for the user."""

    def data(self) -> Iterable[Extent]:
        """Extents that may hold non-zero bytes, in normal form. Everything else reads as zeros."""

    def changes(self) -> Iterable[Extent] | None:
        """Extents that may differ from the baseline, in normal form; None if that is not known."""

    def open_reader(self) -> BlockReader:
        """A new reader for one thread."""


class BlockEditor(BlockWriter, Protocol):
    """Random writes to a disk that holds something. Used by one thread; several may run side by side."""

    def zero(self, offset: int, length: int) -> None:
        """Make `length` bytes from `offset` on zeros, and give back their room where that can be. Raises as `write`."""


class EditableDisk(StandingDisk, Protocol):
    """A disk of a machine that is off, to be made equal to a stored one. What is written counts as changed."""

    def open_editor(self) -> BlockEditor:
        """A new editor for one thread. All are closed before the machine's `finish`."""


class StandingMachine(Protocol):
    """A machine that is off, to be looked at."""

    @property
    def name(self) -> str:
        """Its label."""

    @property
    def disks(self) -> Mapping[str, StandingDisk]:
        """The disks that were asked for, by name."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the user must know about it."""


class EditableMachine(Protocol):
    """A machine that is off and whose disks are being overwritten.

    From the first write on until `finish` nobody takes its disks for whole: it can be neither started nor backed up,
    however the work ends. Whoever overwrites it next goes on from there.
    """

    @property
    def name(self) -> str:
        """Its label."""

    @property
    def disks(self) -> Mapping[str, EditableDisk]:
        """The disks that were asked for, by name."""

    @property
    def warnings(self) -> Sequence[str]:
        """What will not be as it was when the point was captured."""

    def finish(self, nvram: bytes | None) -> None:
        """The disks are equal to the point's: make that durable, set the firmware variables if any, give it back."""

    def start(self) -> None:
        """Switch it on."""

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time."""


class Platform(Protocol):
    """A hypervisor, or anything else that owns machines."""

    def machines(self) -> Sequence[MachineInfo]:
        """Every machine there is, by name."""

    def find(self, machine: str) -> str:
        """The identity of a machine given by identity or name. Raises NotFoundError; UsageError if ambiguous."""

    def capture(
        self, machine_id: str, baseline: Baseline | None, options: CaptureOptions, progress: Progress
    ) -> AbstractContextManager[Capture]:
        """Capture all disks at one instant. Any doubt about the baseline gives a full capture that says why.

        Raises NotFoundError, UnreachableError, RefusedError, ConflictError, FailedError or FullError; whatever it
        raises, the guest is thawed and nothing of ours is left behind.
        """

    def recreate(self, plan: MachinePlan) -> AbstractContextManager[TargetMachine]:
        """Prepare files for a new machine. Refuses names and paths that exist (RefusedError)."""

    def examine(
        self, machine_id: str, disks: Sequence[DiskPlan], baseline: Baseline | None
    ) -> AbstractContextManager[StandingMachine]:
        """Look at these disks of a machine that is off.

        Raises RefusedError if it is not off, lacks a disk or has one of another size, ConflictError if somebody is at
        it. Any doubt about the baseline gives a disk whose changes are not known, and says why.
        """

    def overwrite(
        self, machine_id: str, disks: Sequence[DiskPlan], baseline: Baseline | None, progress: Progress
    ) -> AbstractContextManager[EditableMachine]:
        """The same, to make these disks equal to others. Raises as `examine` does, before anything is touched."""

    def add_disk(self, machine_id: str, disk: DiskPlan, storage: Path | None) -> AbstractContextManager[NewDisk]:
        """Prepare a further disk of a machine, in `storage` or beside its first. Raises RefusedError if it exists."""
