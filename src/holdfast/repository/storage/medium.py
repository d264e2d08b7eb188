"""Reading a file from its medium, past the page cache: bytes in memory do not prove what a disk holds."""

import errno
import mmap
import os
from pathlib import Path
from typing import Final, Self

MOST_BYTES: Final = 1024 * 1024
"""For one read."""
_ALIGNMENT: Final = 4096
"""Of offsets, lengths and memory, for reads past the page cache (open(2), O_DIRECT)."""


class Medium:
    """A synced file, read from where it lies. One thread.

    Where a file system knows no such reads, the kernel is asked to forget the pages that are then read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer = memoryview(mmap.mmap(-1, MOST_BYTES + 2 * _ALIGNMENT))
        self._passes_cache = True
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._open_cached()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, offset: int, length: int) -> memoryview:
        """So many bytes, at most `MOST_BYTES`; fewer only at the end of the file. Good until the next call.

        Raises OSError.
        """
        first = offset - offset % _ALIGNMENT
        end = offset + length
        beyond = end + -end % _ALIGNMENT
        if not self._passes_cache:
            os.posix_fadvise(self._file, first, beyond - first, os.POSIX_FADV_DONTNEED)
        held = 0
        while held < end - first:
            at = held - held % _ALIGNMENT if self._passes_cache else held
            reached = at + self._read_some(first + at, self._buffer[at : beyond - first])
            if reached <= held:
                break
            held = reached
        return self._buffer[offset - first : max(offset, min(first + held, end)) - first]

    def _read_some(self, offset: int, memory: memoryview) -> int:
        try:
            return os.preadv(self._file, [memory], offset)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._passes_cache:
                raise
        aside = self._file
        self._open_cached()
        os.close(aside)
        os.posix_fadvise(self._file, offset, len(memory), os.POSIX_FADV_DONTNEED)
        return os.preadv(self._file, [memory], offset)

    def _open_cached(self) -> None:
        self._passes_cache = False
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
