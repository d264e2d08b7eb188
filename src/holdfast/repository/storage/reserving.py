"""Blocks for an open file that its size does not show, as fallocate(2) gives them. Python has no call for that."""

import ctypes
import errno
import os
from typing import Final

_KEEP_SIZE: Final = 1
_CANNOT: Final = {errno.EOPNOTSUPP, errno.ENOSYS}
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(file: int, length: int) -> None:
    """Blocks for so many bytes from the file's beginning, beyond its end; none where that cannot be had.

    Raises OSError.
    """
    if _libc.fallocate(file, _KEEP_SIZE, 0, length):
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number))
