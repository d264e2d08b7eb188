"""A restore point: a machine's disks and definition as of one instant."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Consistency = Literal["crash", "filesystem", "application"]
CaptureKind = Literal["full", "incremental"]
PointState = Literal["live", "trash", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDisk:
    """A disk inside a point.

    `root` is the hex id of the disk's hash tree. `capture` and `reason` say how it was read. `mark` is what its
    platform needs to tell later changes from this point, opaque to everyone else; None where no mark survives.
    `proof` counts the increments since the last full read: it says which share of what was told to be unchanged has
    been read and compared with this one.
    """

    name: str
    size_bytes: int
    format: str
    capture: CaptureKind
    reason: str
    root: str
    mark: dict[str, Any] | None = None
    proof: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Record ids (hex) of the machine's definition and firmware variables; None where the platform has none."""

    xml: str | None = None
    nvram: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """One committed point. Times are aware and in UTC; `captured_at` is the instant of the freeze.

    `base` is the number of the log's last entry when its backup began: of what was decided later it knows nothing.
    """

    id: str
    machine: str
    machine_id: str
    created_at: datetime
    captured_at: datetime
    consistency: Consistency
    parent: str | None
    disks: tuple[PointDisk, ...]
    definition: Definition
    verified_share: float
    state: PointState = "live"
    base: int = 0

    @property
    def capture(self) -> CaptureKind:
        """How the point as a whole was captured: incremental only if every disk was."""
        return "incremental" if all(disk.capture == "incremental" for disk in self.disks) else "full"

    def disk(self, name: str) -> PointDisk | None:
        """The disk called `name`, if the point has one."""
        return next((disk for disk in self.disks if disk.name == name), None)
