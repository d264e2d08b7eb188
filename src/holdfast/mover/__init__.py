"""The data path: captures into the repository, stored disks onto targets. Knows ports, never a hypervisor."""

from holdfast.mover.backup import BackupOutcome, Care, DiskOutcome, back_up
from holdfast.mover.restore import RestoreOutcome, restore_disk

__all__ = ["BackupOutcome", "Care", "DiskOutcome", "RestoreOutcome", "back_up", "restore_disk"]
