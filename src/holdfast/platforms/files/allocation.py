"""Giving a file its blocks before they are written, as fallocate(2) does.

Python has only the portable call, which writes zeros where a file system cannot do it.
"""

import ctypes
import errno
import os
from typing import Final

_CANNOT: Final = {errno.EOPNOTSUPP, errno.ENOSYS}
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def allocate(file: int, offset: int, length: int) -> None:
    """Blocks for these bytes, which read as zeros; none where the file system cannot. Raises OSError."""
    if _libc.fallocate(file, 0, offset, length):
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number))
