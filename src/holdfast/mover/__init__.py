"""The data path: captures into the repository, stored disks onto targets. Knows ports, never a hypervisor."""

from holdfast.mover.backup import BackupOutcome, Care, DiskOutcome, back_up
from holdfast.mover.born import record_birth
from holdfast.mover.copying import Common, PointThereError, copy_point, mend_point
from holdfast.mover.difference import DifferenceOutcome, compare_disk, equalise_disk, may_differ
from holdfast.mover.restore import RestoreOutcome, opening, restore_disk
from holdfast.mover.streaming import stream_disk
from holdfast.mover.verifying import LARGEST_PICTURE_BYTES, keep_verification

__all__ = [
    "LARGEST_PICTURE_BYTES",
    "BackupOutcome",
    "Care",
    "Common",
    "DifferenceOutcome",
    "DiskOutcome",
    "PointThereError",
    "RestoreOutcome",
    "back_up",
    "compare_disk",
    "copy_point",
    "equalise_disk",
    "keep_verification",
    "may_differ",
    "mend_point",
    "opening",
    "record_birth",
    "restore_disk",
    "stream_disk",
]
