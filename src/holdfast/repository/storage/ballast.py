"""Ballast: room that a storage which can be full keeps for the decisions that make room.

Deleting begins with a decision, and a decision is an object. On a disk without a free byte it could not be put, and
nothing could ever be freed. So files that say nothing lie beside the objects, and whoever makes room lets go of one of
them. The end of a collection takes them again. Backups, which fill disks, never touch them.

Who may write into the repository may not thereby write elsewhere: no link is followed, and no file is opened that was
there before.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from holdfast.core.errors import FullError
from holdfast.repository.storage.blocks import reserve, settle
from holdfast.repository.storage.file_errors import errors_naming
from holdfast.repository.storage.port import Storage

_PARTS: Final = [str(number) for number in range(16)]
"""Not all of it goes at once: whoever fills the disk may take what is freed, and more decisions are still to come.

Each frees an inode too, which are used up as blocks are.
"""
_PART_BYTES: Final = 4 * 1024 * 1024
_SHARE: Final = 8
"""The ballast takes at most one in so many free bytes: a small disk is for backups first."""
_LEAST_BYTES: Final = 1024 * 1024
"""Some decisions and index objects; less is as good as none."""
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
        self._path = path

    def fill(self) -> None:
        """See the port."""
        with errors_naming(self._path):
            self._path.mkdir(mode=0o700, exist_ok=True)
            with _opened(self._path) as folder:
                there = os.fstatvfs(folder)
                wanted = min(_PART_BYTES, there.f_bavail * there.f_frsize // _SHARE // len(_PARTS))
                for name in _PARTS:
                    if _held_bytes(folder, name) < wanted:
                        _take(folder, name, wanted)
                held = sum(_held_bytes(folder, name) for name in _PARTS)
        if held < _LEAST_BYTES:
            raise FullError(f"no space left for {self._path}", hint="free space or enlarge the file system, run again")

    def drop(self) -> bool:
        """See the port."""
        with suppress(OSError), _opened(self._path) as folder:
            for name in _PARTS:
                held = _held_bytes(folder, name)
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                    if held:
                        settle(folder)
                        return True
        return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The directory itself, whatever happens to its name. Raises OSError for a link."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _held_bytes(folder: int, name: str) -> int:
    """What a part takes of the disk; nothing if there is no such file, or one that has another name elsewhere."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return found.st_blocks * _STAT_BLOCK_BYTES if ours else 0


def _take(folder: int, name: str, size: int) -> None:
    """Make a part that takes up so many bytes, without writing them where that is enough. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb", buffering=0) as file:
            reserve(file.fileno(), size)
            if _held_bytes(folder, name) < size:  # the file system cannot, or it said yes and did nothing
                file.write(os.urandom(size))
            os.fsync(file.fileno())
    except BaseException:  # half a part may be the last room there was
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise
