"""FAT12, FAT16 and FAT32, with long names, as Microsoft's specification of 2005 describes them."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from holdfast.filesystems.clusters import Clusters
from holdfast.filesystems.contents import Named
from holdfast.filesystems.dos import (
    DIRECTORY,
    ENTRY_BYTES,
    IN_USE,
    VOLUME,
    DosFiles,
    Node,
    nanoseconds,
    raw_entries,
    serial_text,
)
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Part, Source

MAGICS: Final = ((54, b"FAT12   "), (54, b"FAT16   "), (82, b"FAT32   "))
_LONG, _DELETED = 0x0F, 0xE5
_LARGEST_DIRECTORY: Final = 64 * 1024 * 1024


class Fat(DosFiles):
    """A file system."""

    name = "fat"

    def __init__(self, volume: Source) -> None:
        """Raises BrokenError."""
        block = volume.read(0, 512)
        sector, per_cluster, reserved, tables, roots, sectors, _, table = struct.unpack_from("<HBHBHHBH", block, 11)
        many_sectors, large_table = struct.unpack_from("<II", block, 32)
        table, sectors = table or large_table, sectors or many_sectors
        if sector not in {512, 1024, 2048, 4096} or per_cluster & (per_cluster - 1) or not per_cluster or not tables:
            raise BrokenError("its boot sector makes no sense")
        self._top_at = (reserved + tables * table) * sector
        self._top_bytes = roots * ENTRY_BYTES
        heap = self._top_at + -(-self._top_bytes // sector) * sector
        count = max(0, sectors * sector - heap) // (sector * per_cluster)
        bits = 12 if count < 4085 else 16 if count < 65525 else 32
        top = struct.unpack_from("<I", block, 44)[0] if bits == 32 else 0
        place = Part(volume, reserved * sector, table * sector)
        super().__init__(volume, Clusters(place, bits, volume, heap, sector * per_cluster, count))
        self.root = Node(top, 0, 0, DIRECTORY)
        extended = 67 if bits == 32 else 39
        serial, label = struct.unpack_from("<I11s", block, extended)
        self.uuid = serial_text(serial)
        self.label = label.decode("cp437").rstrip().replace("NO NAME", "")
        in_use = bool(block[extended - 2] & 1) or not _is_clean(place, bits)
        self.doubt = IN_USE if in_use else None

    def entries(self, node: Node) -> Iterator[Named]:
        """See FileSystem."""
        if not node.is_directory:
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
            if not raw[11] & VOLUME:
                name = long_name or _short(raw)
                if name not in {b".", b".."}:
                    yield Named(name, _node(raw), "dir" if raw[11] & DIRECTORY else "file")

    def _raw_entries(self, node: Node) -> Iterator[bytes]:
        blocks = self._blocks(node, _LARGEST_DIRECTORY) if node.cluster else self._top_blocks()
        return (raw for raw in raw_entries(blocks) if raw[0] != _DELETED)

    def _top_blocks(self) -> Iterator[bytes]:
        """The top directory of FAT12 and FAT16 has a place of its own."""
        yield self._volume.read(self._top_at, self._top_bytes)


def _is_clean(table: Source, bits: int) -> bool:
    """What the table's second entry says: Windows takes a bit out of it while it writes, Linux sets one before it."""
    if bits == 12:
        return True
    raw = table.read(bits // 8, bits // 8)
    return bool(raw[-1] & (0x80 if bits == 16 else 0x08))


def _node(raw: bytes) -> Node:
    high, time, date, low, size = struct.unpack_from("<HHHHI", raw, 20)
    return Node(high << 16 | low, size, size, raw[11], nanoseconds(date, time))


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
