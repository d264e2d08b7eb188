"""Which file system is in a volume, and what opens it."""

from collections.abc import Callable
from typing import Final, NamedTuple

from holdfast.filesystems.btrfs import MAGIC as BTRFS_MAGIC
from holdfast.filesystems.btrfs import MAGIC_OFFSET as BTRFS_OFFSET
from holdfast.filesystems.btrfs import Btrfs
from holdfast.filesystems.contents import FileSystem
from holdfast.filesystems.errors import UnsupportedError
from holdfast.filesystems.exfat import MAGIC as EXFAT_MAGIC
from holdfast.filesystems.exfat import MAGIC_OFFSET as EXFAT_OFFSET
from holdfast.filesystems.exfat import ExFat
from holdfast.filesystems.ext import MAGIC as EXT_MAGIC
from holdfast.filesystems.ext import MAGIC_OFFSET as EXT_OFFSET
from holdfast.filesystems.ext import Ext
from holdfast.filesystems.fat import MAGICS as FAT_MAGICS
from holdfast.filesystems.fat import Fat
from holdfast.filesystems.ntfs import MAGIC as NTFS_MAGIC
from holdfast.filesystems.ntfs import MAGIC_OFFSET as NTFS_OFFSET
from holdfast.filesystems.ntfs import Ntfs
from holdfast.filesystems.source import Source
from holdfast.filesystems.xfs import MAGIC as XFS_MAGIC
from holdfast.filesystems.xfs import Xfs


class _Magic(NamedTuple):
    """What tells a kind, and its opener; None for one that is only named."""

    at: int
    mark: bytes
    name: str
    opener: Callable[[Source], FileSystem] | None


_KINDS: Final = (
    _Magic(EXT_OFFSET, EXT_MAGIC, "ext", Ext),
    _Magic(BTRFS_OFFSET, BTRFS_MAGIC, "btrfs", Btrfs),
    _Magic(NTFS_OFFSET, NTFS_MAGIC, "ntfs", Ntfs),
    _Magic(0, XFS_MAGIC, "xfs", Xfs),
    _Magic(EXFAT_OFFSET, EXFAT_MAGIC, "exfat", ExFat),
    *(_Magic(at, mark, "fat", Fat) for at, mark in FAT_MAGICS),
    _Magic(4096 - 10, b"SWAPSPACE2", "swap", None),
    _Magic(0, b"hsqs", "SquashFS", None),
    _Magic(1024, b"\x10\x20\xf5\xf2", "F2FS", None),
    _Magic(0x8001, b"CD001", "ISO 9660", None),
    _Magic(0, b"ReFS", "ReFS", None),
    _Magic(32, b"NXSB", "APFS", None),
    _Magic(0, b"-FVE-FS-", "BitLocker", None),
)


def open_file_system(volume: Source) -> FileSystem | None:
    """The file system in a volume; None if nothing is known of what is there.

    Raises UnsupportedError that names it, BrokenError, or what its parser raises.
    """
    for kind in _KINDS:
        if kind.at + len(kind.mark) <= volume.size and volume.read(kind.at, len(kind.mark)) == kind.mark:
            if kind.opener is None:
                raise UnsupportedError(f"{kind.name} is not read here")
            return kind.opener(volume)
    return None
