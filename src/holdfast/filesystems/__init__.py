"""Looks inside disks: volumes, file systems, files. Whatever parses a guest's bytes does it in a process shut in.

Inside, imports run downwards too: errors < source < contents < partitions, lvm, arrays, luks, acl, clusters,
xfs_attributes < ext, xfs, btrfs, ntfs, fat, exfat < known, foreign < volumes < tree; wire, sandbox < reader.
What starts the reader, inspection, knows only wire, and foreign_volumes, which has others read what the reader cannot.
"""

from holdfast.filesystems.inspection import BROKEN, NOT_READABLE, Inspection, Wanted
from holdfast.filesystems.wire import Entry, FileRun, VolumeFound

__all__ = ["BROKEN", "NOT_READABLE", "Entry", "FileRun", "Inspection", "VolumeFound", "Wanted"]
