"""FAT12, FAT16 and FAT32, with long names, as Microsoft's specification of 2005 describes them."""

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

MAGICS: Final = ((54, b"FAT12   "), (54, b"FAT16   "), (82, b"FAT32   "))
_LONG, _VOLUME, _DIRECTORY, _READ_ONLY = 0x0F, 0x08, 0x10, 0x01
_LARGEST_DIRECTORY: Final = 64 * 1024 * 1024


class Node(NamedTuple):
    """A directory's entry, which is all there is of a file."""

    cluster: int
    size: int
    attributes: int
    modified_ns: int


class Fat:
    """A file system."""

    ignores_case = True
    root = Node(0, 0, _DIRECTORY, 0)

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError."""
        self._volume = volume
        block = volume.read(0, 512)
        sector, per_cluster, reserved, tables, roots, sectors, _, table = struct.unpack_from("<HBHBHHBH", block, 11)
        many_sectors, large_table = struct.unpack_from("<II", block, 32)
        table, sectors = table or large_table, sectors or many_sectors
        if sector not in {512, 1024, 2048, 4096} or per_cluster & (per_cluster - 1) or not per_cluster or not tables:
            raise BrokenError("its boot sector makes no sense")
        self._top_at = (reserved + tables * table) * sector
        self._top_bytes = roots * 32
        heap = self._top_at + -(-self._top_bytes // sector) * sector
        count = max(0, sectors * sector - heap) // (sector * per_cluster)
        bits = 12 if count < 4085 else 16 if count < 65525 else 32
        self._top_cluster = struct.unpack_from("<I", block, 44)[0] if bits == 32 else 0
        place = Part(volume, reserved * sector, table * sector)
        self._clusters = Clusters(place, bits, volume, heap, sector * per_cluster, count)
        extended = 67 if bits == 32 else 39
        serial, label = struct.unpack_from("<I11s", block, extended)
        self.name = "fat"
        self.uuid = f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"
        self.label = label.decode("cp437").rstrip().replace("NO NAME", "")
        in_use = bool(block[extended - 2] & 1) or not _is_clean(place, bits)
        self.doubt = "it was in use: changes of the last seconds may be missing" if in_use else None
        self._runs = lru_cache(64)(self._read_runs)

    def entries(self, node: Node) -> Iterator[Named]:
        """See FileSystem."""
        if not node.attributes & _DIRECTORY:
            raise BrokenError("it is no directory")
        pieces: dict[int, bytes] = {}
        check = -1
        for raw in self._raw_entries(node):
            if raw[11] & 0x3F == _LONG:
                pieces = {} if raw[0] & 0x40 or raw[13] != check else pieces
                check = raw[13]
                pieces[raw[0] & 0x3F] = raw[1:11] + raw[14:26] + raw[28:32]
                continue
            long_name = _joined(pieces) if pieces and check == _checked(raw[:11]) else None
            pieces = {}
            if not raw[11] & _VOLUME:
                name = long_name or _short(raw)
                if name not in {b".", b".."}:
                    yield Named(name, _node(raw), "dir" if raw[11] & _DIRECTORY else "file")

    def attributes(self, node: Node) -> Attributes:
        """See FileSystem."""
        number = node.cluster
        if node.attributes & _DIRECTORY:
            return Attributes("dir", 0, stat.S_IFDIR | 0o755, 0, 0, node.modified_ns, number)
        mode = stat.S_IFREG | (0o444 if node.attributes & _READ_ONLY else 0o644)
        return Attributes("file", node.size, mode, 0, 0, node.modified_ns, number)

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
        runs = list(self._clusters.runs(node.cluster)) if node.size else []
        if sum(run.length for run in runs) < node.size:
            raise BrokenError("a file's chain of clusters is too short for it")
        return in_order(runs, node.size)

    def _raw_entries(self, node: Node) -> Iterator[bytes]:
        for block in self._blocks(node):
            for at in range(0, len(block), 32):
                if not block[at]:
                    return
                if block[at] != 0xE5:
                    yield block[at : at + 32]

    def _blocks(self, node: Node) -> Iterator[bytes]:
        cluster = node.cluster or self._top_cluster
        if not cluster:
            yield self._volume.read(self._top_at, self._top_bytes)
            return
        behind = 0
        for run in self._clusters.runs(cluster):
            assert run.at is not None
            behind += run.length
            if behind > _LARGEST_DIRECTORY:
                raise BrokenError("a directory has no end")
            yield self._volume.read(run.at, run.length)


def _is_clean(table: Source, bits: int) -> bool:
    """What the table's second entry says: Windows takes a bit out of it while it writes, Linux sets one before it."""
    if bits == 12:
        return True
    raw = table.read(bits // 8, bits // 8)
    return bool(raw[-1] & (0x80 if bits == 16 else 0x08))


def _node(raw: bytes) -> Node:
    high, time, date, low, size = struct.unpack_from("<HHHHI", raw, 20)
    return Node(high << 16 | low, size, raw[11], nanoseconds(date, time))


def _joined(pieces: Mapping[int, bytes]) -> bytes:
    text = b"".join(pieces[number] for number in sorted(pieces)).decode("utf-16-le", "replace")
    return text.partition("\0")[0].encode()


def _short(raw: bytes) -> bytes:
    """8.3, in lower case where the entry says so, as Windows NT has it."""
    base, extension = raw[:8], raw[8:11]
    if base[0] == 0x05:
        base = b"\xe5" + base[1:]
    first, second = base.decode("cp437").rstrip(), extension.decode("cp437").rstrip()
    first = first.lower() if raw[12] & 0x08 else first
    second = second.lower() if raw[12] & 0x10 else second
    return (f"{first}.{second}" if second else first).encode()


def _checked(short: bytes) -> int:
    """The sum that ties a long name to its short one."""
    total = 0
    for each in short:
        total = ((total & 1) << 7) + (total >> 1) + each & 0xFF
    return total
