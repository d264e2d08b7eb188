"""What jobs report: the fields are those of `--json` (sizes in bytes, times in seconds)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from holdfast.core.point import CaptureKind, Consistency
from holdfast.core.verification import CheckOutcome

CopyMethod = Literal["taken-over", "cut-anew"]
"""Whether records are sealed anew as they are, or disks are decoded, cut and named with the target's keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedDisk:
    """How one disk was captured, why so, and how much was read from its source."""

    name: str
    capture: CaptureKind
    reason: str
    size_bytes: int
    read_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    """A machine was protected: its new point in `repository`, and what that took.

    `read_bytes` came from the source, `sent_bytes` were plain bytes the repository did not know, by `stored_bytes` the
    repository grew. `proved_bytes` more were read only to be compared. `freeze_ms` is None if nothing was frozen.
    `locked_until` is None if the point is not locked, or not in full: then a warning says so.
    """

    machine: str
    machine_id: str
    point: str
    repository: str
    captured_at: datetime
    consistency: Consistency
    freeze_ms: float | None
    seconds: float
    read_bytes: int
    proved_bytes: int
    sent_bytes: int
    stored_bytes: int
    capture: CaptureKind
    disks: tuple[ProtectedDisk, ...]
    locked_until: datetime | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredDisk:
    """Where one disk of a machine went."""

    name: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """A disk or a machine was brought back from `point` of `machine`.

    `output` is the disk's path or the new machine's name; `restored_id` is the new machine's lasting identity, None for
    a disk. `seconds` ends before the wait for the guest agent; `seconds_to_agent` counts from the start, None if the
    machine was not started or did not answer.
    """

    point: str
    machine: str
    machine_id: str
    output: str
    restored_id: str | None
    disks: tuple[RestoredDisk, ...]
    read_bytes: int
    written_bytes: int
    seconds: float
    started: bool
    seconds_to_agent: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPoint:
    """What a point was found to be: `ok` if all `checks` are. `picture` says whether one of the screen was kept."""

    point: str
    machine: str
    machine_id: str
    ok: bool
    checks: tuple[CheckOutcome, ...]
    picture: bool
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverwrittenDisk:
    """How one disk of a machine differed from its point, and how that was found.

    `tracked`: only what its own record of changes named was compared; `reason` says why, or why not.
    """

    name: str
    tracked: bool
    reason: str
    size_bytes: int
    compared_bytes: int
    different_bytes: int
    extents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverwriteResult:
    """A machine's disks are what they were at `point`, or, in a dry run, what it would take to make them so.

    `read_bytes` came from the repository, `written_bytes` went to the disks. The other fields are those of a restore.
    """

    point: str
    machine: str
    machine_id: str
    output: str
    restored_id: str
    dry_run: bool
    disks: tuple[OverwrittenDisk, ...]
    read_bytes: int
    written_bytes: int
    seconds: float
    started: bool
    seconds_to_agent: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootResult:
    """A machine was started from `point` of `machine`, and its disks moved home if that was wanted.

    `output` and `restored_id` are its label and identity, `mount` is what serves it. `seconds` ends with its start,
    `seconds_to_agent` counts from there.
    """

    point: str
    machine: str
    machine_id: str
    output: str
    restored_id: str
    mount: str
    disks: tuple[RestoredDisk, ...]
    seconds: float
    started: bool
    seconds_to_agent: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeResult:
    """A machine that ran from `point` needs it no more.

    Its storage grew by `written_bytes`. `recorded` is the point that its next backup builds on; None if it has a newer
    one, or none could be made. `former_disks` and `former_nvram`, its firmware variables, are left where they were by a
    machine that was booted in its own place.
    """

    machine: str
    machine_id: str
    point: str
    recorded: str | None
    written_bytes: int
    former_disks: tuple[str, ...]
    former_nvram: str | None
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """A point was written elsewhere, in `format`; `output` is a file, a device, or a directory with a file per disk."""

    point: str
    machine: str
    machine_id: str
    format: str
    output: str
    disks: tuple[RestoredDisk, ...]
    read_bytes: int
    written_bytes: int
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """A point was copied to `repository`, by comparing it with the point `built_on`, or all of it.

    `sent_bytes` were plain bytes that it did not know, by `stored_bytes` it grew.
    """

    point: str
    machine: str
    machine_id: str
    captured_at: datetime
    repository: str
    method: CopyMethod
    built_on: str | None
    sent_bytes: int
    stored_bytes: int
    seconds: float
    locked_until: datetime | None
    warnings: tuple[str, ...]
