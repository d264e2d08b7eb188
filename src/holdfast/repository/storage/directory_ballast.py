"""The ballast of a local directory: files that say nothing, and take up room beside the objects.

Who may write into the repository may not thereby write elsewhere: no link is followed, and no file is opened that was
there before.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from holdfast.repository.storage.blocks import reserve, sync_file_system
from holdfast.repository.storage.file_errors import errors_naming
from holdfast.repository.storage.port import StorageError

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


class DirectoryBallast:
    """A directory of files that take up room. See the port.

    They are empty files with blocks behind their end, so that a copy of the repository does not carry them along.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """See the port."""
        with errors_naming(self._path):
            with suppress(FileExistsError):
                self._path.mkdir(mode=0o700)
            if self._path.is_symlink() or not self._path.is_dir():
                message = f"{self._path} is no directory of this repository's"
                raise StorageError(message, hint="remove it; the next collection makes it anew")
            with _opened(self._path) as folder:
                there = os.fstatvfs(folder)
                wanted = min(_PART_BYTES, there.f_bavail * there.f_frsize // _SHARE // len(_PARTS))
                for name in _PARTS:
                    if _held_bytes(folder, name) < wanted:
                        _take(folder, name, wanted)
                if sum(_held_bytes(folder, name) for name in _PARTS) < _LEAST_BYTES:
                    raise OSError(errno.ENOSPC, "too little is free")

    def drop(self, keep: int = 0) -> bool:
        """See the port."""
        with suppress(OSError), _opened(self._path) as folder:
            held = {name: _held_bytes(folder, name) for name in _PARTS}
            for name in [name for name in _PARTS if held[name] and sum(held.values()) > keep]:
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                    sync_file_system(folder)
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
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
            reserve(file.fileno(), size)
            if _held_bytes(folder, name) < size:  # the file system cannot, or it said yes and did nothing
                file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # half a part may be the last room there was
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise
