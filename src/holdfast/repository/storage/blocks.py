"""System calls on the blocks of a file system that Python does not have: fallocate(2), syncfs(2)."""

import ctypes
import errno
import os
from typing import Final

_KEEP_SIZE: Final = 1
_FAILED: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR}
"""What does not say that this cannot be done here, as several others do, by file system and sandbox."""
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(file: int, length: int) -> None:
    """Blocks for so many bytes from the file's beginning, beyond its end, as fallocate(2) gives them.

    None where that cannot be had. Raises OSError if it failed.
    """
    if _libc.fallocate(file, _KEEP_SIZE, 0, length) and (number := ctypes.get_errno()) in _FAILED:
        raise OSError(number, os.strerror(number))


def sync_file_system(file: int) -> None:
    """Let the file system of an open file come to what it has put off: some free only then what was deleted."""
    _libc.syncfs(file)
