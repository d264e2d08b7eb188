"""The data path: captures into the repository, stored disks onto targets. Knows ports, never a hypervisor."""

from holdfast.mover.backup import BackupOutcome, DiskOutcome, back_up
from holdfast.mover.restore import RestoreOutcome, restore_disk

__all__ = ["BackupOutcome", "DiskOutcome", "RestoreOutcome", "back_up", "restore_disk"]
