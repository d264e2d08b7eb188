"""exFAT, as Microsoft's specification of 2019 describes it."""

import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from holdfast.core.extents import Extent
from holdfast.filesystems.clusters import Clusters, nanoseconds
from holdfast.filesystems.contents import Attributes, Named, Run, in_order, read_runs
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Part, Source

MAGIC_OFFSET: Final = 3
MAGIC: Final = b"EXFAT   "
_FILE, _STREAM, _NAME, _LABEL = 0x85, 0xC0, 0xC1, 0x83
_DIRECTORY, _READ_ONLY = 0x10, 0x01
_DIRTY: Final = 0x2
_LARGEST_DIRECTORY: Final = 256 * 1024 * 1024


class Node(NamedTuple):
    """A directory's entries for one file. `contiguous` files are not in the table."""

    cluster: int
    size: int
    valid: int
    attributes: int
    modified_ns: int
    contiguous: bool


class ExFat:
    """A file system."""

    name = "exfat"
    ignores_case = True

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError."""
        self._volume = volume
        block = volume.read(0, 512)
        table, table_size, heap, count, top, serial = struct.unpack_from("<6I", block, 80)
        flags, sector_log, cluster_log = struct.unpack_from("<HBB", block, 106)
        if not 9 <= sector_log <= 12 or sector_log + cluster_log > 25:
            raise BrokenError("its boot sector makes no sense")
        place = Part(volume, table << sector_log, table_size << sector_log)
        self._clusters = Clusters(place, 32, volume, heap << sector_log, 1 << sector_log + cluster_log, count)
        self.root = Node(top, -1, -1, _DIRECTORY, 0, contiguous=False)
        self.uuid = f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"
        self.doubt = "it was in use: changes of the last seconds may be missing" if flags & _DIRTY else None
        self._runs = lru_cache(64)(self._read_runs)
        self.label = next((_label(raw) for raw in self._raw_entries(self.root) if raw[0] == _LABEL), "")

    def entries(self, node: Node) -> Iterator[Named]:
        """See FileSystem."""
        if not node.attributes & _DIRECTORY:
            raise BrokenError("it is no directory")
        entries = self._raw_entries(node)
        for raw in entries:
            if raw[0] == _FILE:
                more = [next(entries, b"\0") for _ in range(raw[1])]
                yield _named(raw, more)

    def attributes(self, node: Node) -> Attributes:
        """See FileSystem."""
        if node.attributes & _DIRECTORY:
            return Attributes("dir", 0, stat.S_IFDIR | 0o755, 0, 0, node.modified_ns, node.cluster)
        mode = stat.S_IFREG | (0o444 if node.attributes & _READ_ONLY else 0o644)
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

    def _read_runs(self, node: Node) -> list[Run]:
        """What lies beyond the valid length has never been written, and reads as zeros."""
        runs = list(self._clusters.runs(node.cluster, node.size if node.contiguous else None)) if node.size else []
        if sum(run.length for run in runs) < node.size:
            raise BrokenError("a file's chain of clusters is too short for it")
        return in_order(in_order(runs, min(node.valid, node.size)), node.size)

    def _raw_entries(self, node: Node) -> Iterator[bytes]:
        behind = 0
        for run in self._clusters.runs(node.cluster, node.size if node.contiguous else None):
            assert run.at is not None
            behind += run.length
            if behind > _LARGEST_DIRECTORY:
                raise BrokenError("a directory has no end")
            block = self._volume.read(run.at, run.length)
            for at in range(0, len(block), 32):
                if not block[at]:
                    return
                yield block[at : at + 32]


def _named(raw: bytes, more: list[bytes]) -> Named:
    if not more or more[0][0] != _STREAM or any(each[0] != _NAME for each in more[1 : 1 + -(-more[0][3] // 15)]):
        raise BrokenError("a directory has an entry that makes no sense")
    stream = more[0]
    name = b"".join(each[2:32] for each in more[1:])[: stream[3] * 2].decode("utf-16-le", "replace")
    (valid,), (cluster, size) = struct.unpack_from("<Q", stream, 8), struct.unpack_from("<IQ", stream, 20)
    (attributes,), (time, date) = struct.unpack_from("<H", raw, 4), struct.unpack_from("<HH", raw, 12)
    modified = nanoseconds(date, time, raw[21]) - _offset_ns(raw[23])
    node = Node(cluster, size, valid, attributes, modified, contiguous=bool(stream[1] & 2))
    return Named(name.encode(), node, "dir" if attributes & _DIRECTORY else "file")


def _offset_ns(zone: int) -> int:
    """Quarters of an hour from UTC, if they are told."""
    if not zone & 0x80:
        return 0
    quarters = zone & 0x7F
    return (quarters - 128 if quarters >= 64 else quarters) * 15 * 60 * 10**9


def _label(raw: bytes) -> str:
    return raw[2 : 2 + 2 * min(raw[1], 11)].decode("utf-16-le", "replace")
