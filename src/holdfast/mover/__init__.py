"""The data path: captures into the repository, stored disks onto targets. Knows ports, never a hypervisor."""

from holdfast.mover.backup import BackupOutcome, Care, DiskOutcome, back_up
from holdfast.mover.copying import Common, PointThereError, copy_point, mend_point
from holdfast.mover.restore import RestoreOutcome, restore_disk

__all__ = [
    "BackupOutcome",
    "Care",
    "Common",
    "DiskOutcome",
    "PointThereError",
    "RestoreOutcome",
    "back_up",
    "copy_point",
    "mend_point",
    "restore_disk",
]
