"""Raw images, read as the files or block devices they are."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent
from holdfast.core.point import CaptureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDisk:
    """A CapturedDisk that is a raw image. It never knows what changed."""

    name: str
    path: Path
    size_bytes: int
    reason: str

    @property
    def format(self) -> str:
        """Always raw."""
        return "raw"

    @property
    def capture(self) -> CaptureKind:
        """Always full."""
        return "full"

    @property
    def mark(self) -> dict[str, Any] | None:
        """A raw image has no place for a mark."""
        return None

    def data(self) -> Iterator[Extent]:
        """What the file system has stored; everything on a block device and where it cannot tell."""
        file = _open(self.path)
        try:
            at = 0
            while at < self.size_bytes:
                start = _seek(file, at, os.SEEK_DATA)
                if start is None or start >= self.size_bytes:
                    return
                end = _seek(file, start, os.SEEK_HOLE)
                at = self.size_bytes if end is None else min(end, self.size_bytes)
                yield Extent(start, at)
        finally:
            os.close(file)

    def changes(self) -> None:
        """Not known."""
        return

    def open_reader(self) -> "RawReader":
        """A reader with a file of its own."""
        return RawReader(self.name, self.path, self.size_bytes)


class RawReader:
    """A BlockReader of a raw image."""

    def __init__(self, disk: str, path: Path, size_bytes: int) -> None:
        self._disk = disk
        self._path = path
        self._size = size_bytes
        self._file = _open(path)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset`. Raises FailedError naming disk and offset."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._file, [buffer[done:]], offset + done)
            except OSError as error:
                raise FailedError(
                    f"{self._disk}: cannot read {self._path} at {offset + done}: {error.strerror}"
                ) from error
            if count == 0:
                raise FailedError(
                    f"{self._disk}: {self._path} ends at {offset + done}, before the disk's {self._size} bytes",
                    hint="run the backup again when nothing writes to it",
                    code="changed",
                )
            done += count

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def raw_size(path: Path) -> int:
    """The size in bytes of a file or block device. Raises FailedError."""
    file = _open(path)
    try:
        return os.lseek(file, 0, os.SEEK_END)
    finally:
        os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FailedError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error


def _seek(file: int, at: int, whence: int) -> int | None:
    """The next data or hole; None where there is no further data, or where the file cannot tell data from holes."""
    try:
        return os.lseek(file, at, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno == errno.EINVAL:  # no file system to ask: all of it is data
            return at if whence == os.SEEK_DATA else None
        raise
