"""Extended attributes of XFS: in the inode, or in blocks of a fork of their own."""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from holdfast.filesystems.contents import Run, read_runs
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Source

_IN_PLACE, _ROOT, _SECURE, _PARENT, _UNFINISHED = 0x01, 0x02, 0x04, 0x08, 0x80
_LEAVES: Final = {0xFBEE, 0x3BEE}
_LARGEST: Final = 64 * 1024
_HEADER_5: Final = 56


class Forks:
    """The fork of attributes of one inode: bytes by their place in it."""

    def __init__(self, volume: Source, runs: Sequence[Run], block: int, *, is_5: bool) -> None:
        self.block = block
        self.is_5 = is_5
        self.runs = runs
        self._volume = volume

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of it. Raises BrokenError for what it has not."""
        found = read_runs(self._volume, self.runs, offset, length)
        if len(found) < length:
            raise BrokenError("an attribute lies outside its fork")
        return found


def attributes_inline(fork: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values from an inode."""
    if len(fork) < 4:
        raise BrokenError("the attributes of an inode make no sense")
    at = 4
    for _ in range(fork[2]):
        if at + 3 > len(fork):
            raise BrokenError("the attributes of an inode make no sense")
        name_bytes, value_bytes, flags = fork[at : at + 3]
        name = fork[at + 3 : at + 3 + name_bytes]
        at += 3 + name_bytes
        if not flags & (_PARENT | _UNFINISHED):
            yield _named(name, flags), fork[at : at + value_bytes]
        at += value_bytes


def attributes_in(fork: Forks) -> Iterator[tuple[str, bytes]]:
    """Names and values from blocks."""
    for run in fork.runs:
        for at in range(run.start, run.start + run.length, fork.block):
            block = fork.read(at, fork.block)
            if struct.unpack_from(">H", block, 8)[0] in _LEAVES:
                yield from _attributes_of(block, fork)


def _attributes_of(block: bytes, fork: Forks) -> Iterator[tuple[str, bytes]]:
    counted, entries = (56, 80) if fork.is_5 else (12, 32)
    (count,) = struct.unpack_from(">H", block, counted)
    if entries + 8 * count > len(block):
        raise BrokenError("a block of attributes makes no sense")
    for at in range(entries, entries + 8 * count, 8):
        _, place, flags = struct.unpack_from(">IHB", block, at)
        if flags & (_PARENT | _UNFINISHED) or place + 12 > len(block):
            continue
        if flags & _IN_PLACE:
            size, name_bytes = struct.unpack_from(">HB", block, place)
            name = block[place + 3 : place + 3 + name_bytes]
            yield _named(name, flags), block[place + 3 + name_bytes :][:size]
        else:
            first, size, name_bytes = struct.unpack_from(">IIB", block, place)
            name = block[place + 9 : place + 9 + name_bytes]
            yield _named(name, flags), _far_value(fork, first, size)


def _far_value(fork: Forks, first: int, size: int) -> bytes:
    if size > _LARGEST:
        raise BrokenError(f"an attribute is {size} bytes large")
    header = _HEADER_5 if fork.is_5 else 0
    blocks = -(-size // (fork.block - header))
    raw = fork.read(first * fork.block, blocks * fork.block)
    return b"".join(raw[at + header : at + fork.block] for at in range(0, len(raw), fork.block))[:size]


def _named(name: bytes, flags: int) -> str:
    space = "trusted." if flags & _ROOT else "security." if flags & _SECURE else "user."
    return space + name.decode(errors="surrogateescape")
