"""QEMU's locks on image files, looked at without taking any.

A QEMU process that may write to an image holds a shared lock on byte 101 of the file: 100 and the number of the
permission to write (QEMU's block/file-posix.c, RAW_LOCK_PERM_BASE and BLK_PERM_WRITE).
"""

import fcntl
import os
import struct
from pathlib import Path

from holdfast.core.errors import FailedError

_WRITER = 101
_FLOCK = struct.Struct("@hhqqi")  # struct flock of 64-bit Linux: type, whence, start, length, process


def is_in_use(path: Path) -> bool:
    """Whether a QEMU process may write to the image. Raises FailedError if the file system cannot tell."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITER, 1, 0)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, question)
        finally:
            os.close(file)
    except OSError as error:
        raise FailedError(f"cannot see whether {path} is in use: {error.strerror}") from error
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
