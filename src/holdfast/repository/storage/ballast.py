"""Ballast: room that a storage which can be full keeps for the decisions that make room.

Deleting begins with a decision, and a decision is an object. On a disk without a free byte it could not be put, and
nothing could ever be freed. So files that say nothing lie beside the objects, and whoever makes room lets go of one of
them. The end of a collection takes them again. Backups, which fill disks, never touch them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from holdfast.core.errors import FullError
from holdfast.repository.storage.file_errors import errors_naming
from holdfast.repository.storage.port import Storage
from holdfast.repository.storage.reserving import reserve

_PARTS: Final = 4
"""Not all of it goes at once: whoever fills the disk may take what is freed, and three decisions are still to come."""
_PART_BYTES: Final = 16 * 1024 * 1024
_SHARE: Final = 8
"""The ballast takes at most one in so many free bytes: a small disk is for backups first."""
_NOISE_BYTES: Final = 1024 * 1024
_STAT_BLOCK_BYTES: Final = 512
"""stat(2): whatever the file system's own blocks."""

_Done = TypeVar("_Done")


def with_ballast(storage: Storage, action: Callable[[], _Done]) -> _Done:
    """What `action` returns. While the storage is full, a part of its ballast goes, and the action is tried anew.

    Raises what the action raises; FullError once nothing is left of the ballast.
    """
    while True:
        try:
            return action()
        except FullError:
            if storage.ballast is None or not storage.ballast.drop():
                raise


class DirectoryBallast:
    """A directory of files that take up room. See the port.

    They are empty files with blocks behind their end, so that a copy of the repository does not carry them along.
    """

    def __init__(self, path: Path) -> None:
        self._parts = [path / str(number) for number in range(_PARTS)]

    def fill(self) -> None:
        """See the port."""
        folder = self._parts[0].parent
        with errors_naming(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            there = os.statvfs(folder)
        wanted = min(_PART_BYTES, there.f_bavail * there.f_frsize // _SHARE // _PARTS)
        for part in self._parts:
            with errors_naming(part), part.open("ab") as file:
                if _taken_bytes(file) < wanted:
                    _take(file, wanted)

    def drop(self) -> bool:
        """See the port."""
        for part in self._parts:
            with errors_naming(part):
                if part.exists():
                    part.unlink(missing_ok=True)
                    return True
        return False


def _take(file: BinaryIO, size: int) -> None:
    """Make the file take up so many bytes, without writing them where that is enough."""
    reserve(file.fileno(), size)
    if _taken_bytes(file) < size:  # the file system cannot, or it said yes and did nothing
        file.truncate(0)
        file.writelines(os.urandom(min(_NOISE_BYTES, size - at)) for at in range(0, size, _NOISE_BYTES))
        file.flush()
    os.fsync(file.fileno())


def _taken_bytes(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_blocks * _STAT_BLOCK_BYTES
