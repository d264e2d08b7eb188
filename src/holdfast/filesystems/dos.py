"""What FAT and exFAT tell alike: files that are chains of clusters, with a few attributes and times of DOS."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from holdfast.core.extents import Extent
from holdfast.filesystems.clusters import Clusters
from holdfast.filesystems.contents import Attributes, Run, in_order, read_runs
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Source

READ_ONLY, VOLUME, DIRECTORY = 0x01, 0x08, 0x10
"""Bits of a file's attributes."""
ENTRY_BYTES: Final = 32
IN_USE: Final = "it was in use: changes of the last seconds may be missing"


class Node(NamedTuple):
    """A directory's entry, which is all there is of a file.

    What lies beyond its `valid` bytes has never been written. `contiguous` ones are not in the table.
    """

    cluster: int
    size: int
    valid: int
    attributes: int
    modified_ns: int = 0
    contiguous: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether it holds entries."""
        return bool(self.attributes & DIRECTORY)


class DosFiles:
    """The files of a volume."""

    ignores_case = True

    def __init__(self, volume: Source, clusters: Clusters) -> None:
        self._volume = volume
        self._clusters = clusters
        self._runs = lru_cache(64)(self._read_runs)

    def attributes(self, node: Node) -> Attributes:
        """See FileSystem."""
        if node.is_directory:
            return Attributes("dir", 0, stat.S_IFDIR | 0o755, 0, 0, node.modified_ns, node.cluster)
        mode = stat.S_IFREG | (0o444 if node.attributes & READ_ONLY else 0o644)
        return Attributes("file", node.size, mode, 0, 0, node.modified_ns, node.cluster)

    def runs(self, node: Node) -> list[Run] | None:
        """See FileSystem."""
        return self._runs(node)

    def read(self, node: Node, offset: int, length: int) -> bytes:
        """See FileSystem."""
        return read_runs(self._volume, self._runs(node), offset, length)

    def xattrs(self, node: Node) -> Mapping[str, bytes]:
        """None."""
        del node
        return {}

    def touched(self, extents: Sequence[Extent]) -> None:
        """Not told."""

    def _chain(self, node: Node) -> Iterator[Run]:
        return self._clusters.runs(node.cluster, node.size if node.contiguous else None)

    def _read_runs(self, node: Node) -> list[Run]:
        runs = list(self._chain(node)) if node.size else []
        if sum(run.length for run in runs) < node.size:
            raise BrokenError("a file's chain of clusters is too short for it")
        return in_order(in_order(runs, min(node.valid, node.size)), node.size)

    def _blocks(self, node: Node, most_bytes: int) -> Iterator[bytes]:
        """What a directory's clusters hold."""
        behind = 0
        for run in self._chain(node):
            assert run.at is not None
            behind += run.length
            if behind > most_bytes:
                raise BrokenError("a directory has no end")
            yield self._volume.read(run.at, run.length)


def raw_entries(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The entries of a directory, up to the first that has never been used."""
    for block in blocks:
        for at in range(0, len(block), ENTRY_BYTES):
            if not block[at]:
                return
            yield block[at : at + ENTRY_BYTES]


def serial_text(serial: int) -> str:
    """A volume's serial number, as it is written."""
    return f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"


def nanoseconds(date: int, time: int, hundredths: int = 0) -> int:
    """A time of DOS. It is local time, of a zone that is not known here: it is taken for UTC."""
    try:
        when = datetime(
            1980 + (date >> 9),
            date >> 5 & 15,
            date & 31,
            time >> 11,
            time >> 5 & 63,
            min(59, (time & 31) * 2),
            tzinfo=UTC,
        )
    except ValueError:
        return 0
    return int(when.timestamp()) * 10**9 + hundredths * 10**7
