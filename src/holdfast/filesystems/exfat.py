"""exFAT, as Microsoft's specification of 2019 describes it."""

import struct
from collections.abc import Iterator
from typing import Final

from holdfast.filesystems.clusters import Clusters
from holdfast.filesystems.contents import Named
from holdfast.filesystems.dos import DIRECTORY, IN_USE, DosFiles, Node, nanoseconds, raw_entries, serial_text
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Part, Source

MAGIC_OFFSET: Final = 3
MAGIC: Final = b"EXFAT   "
_FILE, _STREAM, _NAME, _LABEL = 0x85, 0xC0, 0xC1, 0x83
_DIRTY: Final = 0x2
_LARGEST_DIRECTORY: Final = 256 * 1024 * 1024


class ExFat(DosFiles):
    """A file system."""

    name = "exfat"

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError."""
        block = volume.read(0, 512)
        table, table_size, heap, count, top, serial = struct.unpack_from("<6I", block, 80)
        flags, sector_log, cluster_log = struct.unpack_from("<HBB", block, 106)
        if not 9 <= sector_log <= 12 or sector_log + cluster_log > 25:
            raise BrokenError("its boot sector makes no sense")
        place = Part(volume, table << sector_log, table_size << sector_log)
        clusters = Clusters(place, 32, volume, heap << sector_log, 1 << sector_log + cluster_log, count)
        super().__init__(volume, clusters)
        self.root = Node(top, -1, -1, DIRECTORY)
        self.uuid = serial_text(serial)
        self.doubt = IN_USE if flags & _DIRTY else None
        self.label = next((_label(raw) for raw in self._raw_entries(self.root) if raw[0] == _LABEL), "")

    def entries(self, node: Node) -> Iterator[Named]:
        """See FileSystem."""
        if not node.is_directory:
            raise BrokenError("it is no directory")
        entries = self._raw_entries(node)
        for raw in entries:
            if raw[0] == _FILE:
                more = [next(entries, b"\0") for _ in range(raw[1])]
                yield _named(raw, more)

    def _raw_entries(self, node: Node) -> Iterator[bytes]:
        return raw_entries(self._blocks(node, _LARGEST_DIRECTORY))


def _named(raw: bytes, more: list[bytes]) -> Named:
    if not more or more[0][0] != _STREAM or any(each[0] != _NAME for each in more[1 : 1 + -(-more[0][3] // 15)]):
        raise BrokenError("a directory has an entry that makes no sense")
    stream = more[0]
    name = b"".join(each[2:32] for each in more[1:])[: stream[3] * 2].decode("utf-16-le", "replace")
    (valid,), (cluster, size) = struct.unpack_from("<Q", stream, 8), struct.unpack_from("<IQ", stream, 20)
    (attributes,), (time, date) = struct.unpack_from("<H", raw, 4), struct.unpack_from("<HH", raw, 12)
    modified = nanoseconds(date, time, raw[21]) - _offset_ns(raw[23])
    node = Node(cluster, size, valid, attributes, modified, contiguous=bool(stream[1] & 2))
    return Named(name.encode(), node, "dir" if attributes & DIRECTORY else "file")


def _offset_ns(zone: int) -> int:
    """Quarters of an hour from UTC, if they are told."""
    if not zone & 0x80:
        return 0
    quarters = zone & 0x7F
    return (quarters - 128 if quarters >= 64 else quarters) * 15 * 60 * 10**9


def _label(raw: bytes) -> str:
    return raw[2 : 2 + 2 * min(raw[1], 11)].decode("utf-16-le", "replace")
