"""Which file system is in a volume, and what opens it."""

from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn
from uuid import UUID

from holdfast.filesystems.btrfs import MAGIC as BTRFS_MAGIC
from holdfast.filesystems.btrfs import MAGIC_OFFSET as BTRFS_OFFSET
from holdfast.filesystems.btrfs import Btrfs
from holdfast.filesystems.contents import FileSystem
from holdfast.filesystems.errors import ForeignKindError, UnsupportedError
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
    """What tells a kind, and its opener; None for one that is not read here.

    `linux` is how Linux calls what its drivers read, and `uuid_at` where such a kind has its UUID.
    """

    at: int
    mark: bytes
    name: str
    opener: Callable[[Source], FileSystem] | None
    linux: str = ""
    uuid_at: int | None = None


_KINDS: Final = (
    _Magic(EXT_OFFSET, EXT_MAGIC, "ext", Ext, "ext4"),
    _Magic(BTRFS_OFFSET, BTRFS_MAGIC, "btrfs", Btrfs),
    _Magic(NTFS_OFFSET, NTFS_MAGIC, "ntfs", Ntfs),
    _Magic(0, XFS_MAGIC, "xfs", Xfs, "xfs"),
    _Magic(EXFAT_OFFSET, EXFAT_MAGIC, "exfat", ExFat),
    *(_Magic(at, mark, "fat", Fat) for at, mark in FAT_MAGICS),
    _Magic(4096 - 10, b"SWAPSPACE2", "swap", None),
    _Magic(0, b"hsqs", "SquashFS", None, "squashfs"),
    _Magic(1024, b"\x10\x20\xf5\xf2", "F2FS", None, "f2fs", 1024 + 108),
    _Magic(0x8001, b"CD001", "ISO 9660", None, "iso9660"),
    _Magic(0x8000, b"JFS1", "JFS", None, "jfs", 0x8000 + 136),
    *(
        _Magic(0x10034, mark, "ReiserFS", None, "reiserfs", 0x10054)
        for mark in (b"ReIsErFs", b"ReIsEr2Fs", b"ReIsEr3Fs")
    ),
    _Magic(1024 + 6, b"\x34\x34", "NILFS2", None, "nilfs2", 1024 + 152),
    *(_Magic(1024, mark, "HFS+", None, "hfsplus") for mark in (b"H+\0\4", b"HX\0\5")),
    _Magic(1024, b"\xe2\xe1\xf5\xe0", "EROFS", None, "erofs"),
    _Magic(0, b"-rom1fs-", "romfs", None, "romfs"),
    _Magic(0, b"ReFS", "ReFS", None),
    _Magic(32, b"NXSB", "APFS", None),
    _Magic(0, b"-FVE-FS-", "BitLocker", None),
)


def open_file_system(volume: Source) -> FileSystem | None:
    """The file system in a volume; None if nothing is known of what is there.

    Raises UnsupportedError that names it, ForeignKindError if Linux reads it, BrokenError, or what its parser raises.
    """
    for kind in _KINDS:
        if kind.at + len(kind.mark) <= volume.size and volume.read(kind.at, len(kind.mark)) == kind.mark:
            return _opened(kind, volume)
    return None


def _opened(kind: _Magic, volume: Source) -> FileSystem:
    try:
        return (kind.opener or _refuse(kind.name))(volume)
    except UnsupportedError as error:
        if not kind.linux:
            raise
        uuid = "" if kind.uuid_at is None else str(UUID(bytes=volume.read(kind.uuid_at, 16)))
        raise ForeignKindError(str(error), kind.linux, uuid) from error


def _refuse(name: str) -> NoReturn:
    raise UnsupportedError(f"{name} is not read here")
