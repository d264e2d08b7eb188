"""Looks inside disks: volumes, file systems, files. Whatever parses a guest's bytes does it in a process shut in.

Inside, imports run downwards too: errors < source < contents < partitions, lvm, arrays, luks, acl, clusters,
xfs_attributes < ext, xfs, btrfs, ntfs, fat, exfat < known < volumes < tree; wire, sandbox < reader. What starts the
reader, inspection, knows only wire.
"""

from holdfast.filesystems.inspection import BROKEN, NOT_READABLE, Device, Inspection, Wanted
from holdfast.filesystems.wire import Entry, FileRun, VolumeFound

__all__ = ["BROKEN", "NOT_READABLE", "Device", "Entry", "FileRun", "Inspection", "VolumeFound", "Wanted"]
