"""Reading, mapping and writing a disk that an NBD server exports on a UNIX socket.

Each object and each iteration holds a connection of its own and belongs to one thread. libnbd waits without the
interpreter's lock, so threads with a connection each run side by side.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbd

from holdfast.core.errors import FailedError, FullError, HoldfastError
from holdfast.core.extents import Extent

ALLOCATION = "base:allocation"
# Bits of a block status answer: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md for the first,
# QEMU's docs/interop/nbd.txt for the second.
_READS_AS_ZERO = 2
_DIRTY = 1
# Measured over 700 MiB: pieces of 1 MiB cost 0.18 s of CPU, whole 4 MiB 0.26 (fresh memory faults in page by page).
# Smaller pieces are no cheaper, and each one waits for the interpreter's lock anew.
_READ_PIECE = 1 << 20
_WRITE_PIECE = 4 << 20
_ZERO_PIECE = 32 << 20
_STATUS_PIECE = 1 << 31  # a length has 32 bits


def _unexplained() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A disk that is served: on which socket, under which export name, and what to call it in messages.

    `explain` knows better than a broken connection why the disk is gone, if anything does.
    """

    socket: Path
    name: str
    disk: str
    explain: Callable[[], HoldfastError | None] = _unexplained

    def connect(self, context: str | None = None) -> Any:
        """A libnbd handle, with the metadata context if one is named. Raises FailedError."""
        handle = nbd.NBD()
        try:
            handle.set_export_name(self.name)
            handle.set_pread_initialize(False)  # every error raises, so the buffer is never seen half-filled
            if context is not None:
                handle.add_meta_context(context)
            handle.connect_unix(str(self.socket))
            if context is not None and not handle.can_meta_context(context):
                raise FailedError(f"the NBD server of {self.disk} does not offer {context}")
        except nbd.Error as error:
            raise self.failure(error, "connecting") from error
        return handle

    def failure(self, error: nbd.Error, action: str) -> HoldfastError:
        """What went wrong, for the user: the cause if it is known, otherwise what libnbd says."""
        if (known := self.explain()) is not None:
            return known
        if error.errnum in {errno.ENOSPC, errno.EDQUOT}:
            return FullError(f"{self.disk}: no space left, {action}", hint="make room, then run it again")
        return FailedError(f"{self.disk}: {action}: {error}")


class NbdReader:
    """A BlockReader over one connection."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._handle = export.connect()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset`. Raises FailedError naming disk and offset, or the known cause."""
        try:
            for at in range(0, len(buffer), _READ_PIECE):
                length = min(_READ_PIECE, len(buffer) - at)
                buffer[at : at + length] = self._handle.pread(length, offset + at)
        except nbd.Error as error:
            raise self._export.failure(error, f"reading {len(buffer)} bytes at {offset}") from error

    def close(self) -> None:
        """Hang up. May be called twice."""
        self._handle = None  # libnbd hangs up when the last reference goes


class NbdWriter:
    """A BlockWriter over one connection."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._handle = export.connect()

    def write(self, offset: int, *pieces: memoryview) -> None:
        """Write all of these, one behind the other. Raises FullError or FailedError naming the output and offset."""
        for piece in pieces:
            self._write_one(offset, piece)
            offset += len(piece)

    def _write_one(self, offset: int, buffer: memoryview) -> None:
        try:
            for at in range(0, len(buffer), _WRITE_PIECE):
                self._handle.pwrite(buffer[at : at + _WRITE_PIECE], offset + at)
        except nbd.Error as error:
            raise self._export.failure(error, f"writing {len(buffer)} bytes at {offset}") from error

    def close(self) -> None:
        """Flush and hang up. Raises like `write`. May be called twice."""
        handle, self._handle = self._handle, None  # libnbd hangs up when the last reference goes
        if handle is None:
            return
        try:
            handle.flush()
        except nbd.Error as error:
            raise self._export.failure(error, "flushing") from error


class NbdEditor(NbdWriter):
    """A BlockEditor over one connection."""

    def zero(self, offset: int, length: int) -> None:
        """Zeros without sending any, and without room where the image can do without. Raises as `write` does."""
        try:
            for at in range(offset, offset + length, _ZERO_PIECE):
                self._handle.zero(min(_ZERO_PIECE, offset + length - at), at)
        except nbd.Error as error:
            raise self._export.failure(error, f"zeroing {length} bytes at {offset}") from error


def data_extents(export: Export) -> Iterator[Extent]:
    """What may hold non-zero bytes, in normal form. A hole that is not known to read as zeros counts as data."""
    return _Map(export, ALLOCATION, lambda flags: not flags & _READS_AS_ZERO).extents()


def dirty_extents(export: Export, bitmap: str) -> Iterator[Extent]:
    """What a dirty bitmap marks, in normal form."""
    return _Map(export, f"qemu:dirty-bitmap:{bitmap}", lambda flags: bool(flags & _DIRTY)).extents()


class _Map:
    """One pass over an export's block status, from the first byte to the last without a gap."""

    def __init__(self, export: Export, context: str, wanted: Callable[[int], bool]) -> None:
        self._export = export
        self._context = context
        self._wanted = wanted
        self._known_to = 0
        self._entries: list[int] = []

    def extents(self) -> Iterator[Extent]:
        """The wanted stretches, joined where they touch."""
        handle = self._export.connect(self._context)
        yield from self._joined(handle, handle.get_size())

    def _joined(self, handle: Any, size: int) -> Iterator[Extent]:
        start: int | None = None
        while (at := self._known_to) < size:
            self._ask(handle, min(_STATUS_PIECE, size - at))
            for length, flags in zip(self._entries[::2], self._entries[1::2], strict=True):
                if self._wanted(flags):
                    start = at if start is None else start
                elif start is not None:
                    yield Extent(start, at)
                    start = None
                at = min(at + length, size)  # the last answer may reach past what was asked
            if at <= self._known_to:
                raise FailedError(f"{self._export.disk}: the map of its blocks ends at {at} of {size} bytes")
            self._known_to = at
        if start is not None:
            yield Extent(start, size)

    def _ask(self, handle: Any, length: int) -> None:
        self._entries = []
        try:
            handle.block_status(length, self._known_to, self._receive)
        except nbd.Error as error:
            raise self._export.failure(error, f"asking for the map at {self._known_to}") from error

    def _receive(self, context: str, offset: int, entries: list[int], _error: Any) -> int:
        if context == self._context and offset == self._known_to:
            self._entries = entries
        return 0


def served_size(export: Export) -> int:
    """The disk's size in bytes, as its server tells it."""
    return int(export.connect().get_size())
