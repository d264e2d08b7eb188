"""The clusters of FAT and exFAT, and the table that says which one follows which."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from holdfast.filesystems.contents import Run
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Source

_CHUNK: Final = 16 * 1024
"""Entries of the table that are read at once."""


class Clusters:
    """The clusters of a volume, numbered from 2."""

    def __init__(self, table: Source, bits: int, volume: Source, heap: int, size: int, count: int) -> None:
        """`heap` is where cluster 2 begins. Raises BrokenError."""
        if size <= 0 or heap < 0 or count < 0:
            raise BrokenError("its clusters make no sense")
        self.size = size
        self._table = table
        self._bits = bits
        self._volume = volume
        self._heap = heap
        self._count = count
        self._last = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[bits]
        self._chunk = lru_cache(64)(self._read_chunk)

    def runs(self, first: int, room: int | None = None) -> Iterator[Run]:
        """Where a chain lies, from its first cluster on; `room` bytes of it without looking at the table."""
        if not first:
            return
        if room is not None:
            yield self._run(0, first, -(-room // self.size))
            return
        start, at, length = 0, first, 1
        for cluster in self._followers(first):
            if cluster == at + length:
                length += 1
                continue
            yield self._run(start, at, length)
            start, at, length = start + length * self.size, cluster, 1
        yield self._run(start, at, length)

    def _followers(self, cluster: int) -> Iterator[int]:
        for _ in range(self._count + 1):
            cluster = self._next(cluster)
            if cluster >= self._last:
                return
            yield cluster
        raise BrokenError("a chain of clusters has no end")

    def _run(self, start: int, first: int, length: int) -> Run:
        if first < 2 or first - 2 + length > self._count:
            raise BrokenError(f"clusters {first} to {first + length} lie outside the {self._count} there are")
        return Run(start, length * self.size, self._heap + (first - 2) * self.size)

    def _next(self, cluster: int) -> int:
        if not 2 <= cluster < self._count + 2:
            raise BrokenError(f"there is no cluster {cluster}")
        if self._bits == 12:
            pair = int.from_bytes(self._table.read(cluster + cluster // 2, 2), "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        chunk, within = divmod(cluster, _CHUNK)
        return self._chunk(chunk)[within] & (0xFFFF if self._bits == 16 else 0x0FFFFFFF)

    def _read_chunk(self, number: int) -> memoryview:
        width = self._bits // 8
        start = number * _CHUNK * width
        raw = self._table.read(start, min(_CHUNK * width, self._table.size - start))
        return memoryview(raw[: len(raw) // width * width]).cast("H" if width == 2 else "I")
