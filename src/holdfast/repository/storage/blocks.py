"""Blocks of a file system, taken and given back by system calls that Python does not have."""

import ctypes
import errno
import os
from typing import Final

_KEEP_SIZE: Final = 1
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(file: int, length: int) -> None:
    """Blocks for so many bytes from the file's beginning, beyond its end, as fallocate(2) gives them.

    None where that cannot be had. Raises OSError if there is no room.
    """
    if _libc.fallocate(file, _KEEP_SIZE, 0, length) and (number := ctypes.get_errno()) in _NO_ROOM:
        raise OSError(number, os.strerror(number))


def settle(file: int) -> None:
    """Let its file system come to what it has put off (syncfs(2)): some free what was deleted only then."""
    _libc.syncfs(file)
