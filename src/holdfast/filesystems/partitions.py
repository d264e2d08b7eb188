"""How a disk is divided: GPT, with its second copy if the first is hurt, MBR with logical partitions, or not at all."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple
from uuid import UUID

from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Part, Source

_SECTORS: Final = (512, 4096)
_EXTENDED: Final = {0x05, 0x0F, 0x85}
_PROTECTIVE: Final = 0xEE
_MOST_PARTITIONS: Final = 1024
_EMPTY: Final = bytes(16)


class Partition(NamedTuple):
    """A part of a disk. `id` and `label` are what fstab calls PARTUUID and PARTLABEL."""

    number: int
    source: Source
    id: str
    label: str


def partitions(disk: Source) -> list[Partition]:
    """The parts of a disk, by number; none if it is not divided. Raises BrokenError for a table that makes no sense."""
    if disk.size < 512:
        return []
    boot = disk.read(0, 512)
    if boot[510:512] != b"\x55\xaa":
        return []
    if _PROTECTIVE in boot[450:510:16]:
        return list(_gpt(disk))
    return list(_mbr(disk, boot))


def _gpt(disk: Source) -> Iterator[Partition]:
    for sector in _SECTORS:
        for at in (sector, disk.size // sector * sector - sector):
            header = _header(disk, at)
            if header is not None:
                yield from _entries(disk, header, sector)
                return
    raise BrokenError("neither copy of its partition table (GPT) is whole")


def _header(disk: Source, at: int) -> bytes | None:
    if not 0 < at <= disk.size - 512:
        return None
    header = disk.read(at, 512)
    size, check = struct.unpack_from("<II", header, 12)
    if header[:8] != b"EFI PART" or not 92 <= size <= 512:
        return None
    return header if zlib.crc32(header[:16] + bytes(4) + header[20:size]) == check else None


def _entries(disk: Source, header: bytes, sector: int) -> Iterator[Partition]:
    first, count, size = struct.unpack_from("<QII", header, 72)
    if not 128 <= size <= 4096 or count > _MOST_PARTITIONS:
        raise BrokenError(f"its partition table has {count} entries of {size} bytes")
    table = disk.read(first * sector, count * size)
    for number in range(count):
        entry = table[number * size :][:128]
        if entry[:16] != _EMPTY:
            start, last = struct.unpack_from("<QQ", entry, 32)
            label = entry[56:].decode("utf-16-le", "replace").partition("\0")[0]
            part = _part(disk, start * sector, (last + 1 - start) * sector, number + 1)
            yield Partition(number + 1, part, str(UUID(bytes_le=entry[16:32])), label)


def _mbr(disk: Source, boot: bytes) -> Iterator[Partition]:
    """A boot sector without a table holds code or text where the table would be: then nothing of it makes sense."""
    entries = [boot[at : at + 16] for at in range(446, 510, 16)]
    if any(entry[0] not in {0, 0x80} for entry in entries):
        return
    disk_id = struct.unpack_from("<I", boot, 440)[0]
    for number, entry in enumerate(entries, 1):
        kind, (start, count) = entry[4], struct.unpack_from("<II", entry, 8)
        if not kind or not count or (start + count) * 512 > disk.size + 4096 * 512:
            continue
        if kind in _EXTENDED:
            yield from _logical(disk, start, disk_id)
        else:
            yield Partition(number, _part(disk, start * 512, count * 512, number), f"{disk_id:08x}-{number:02x}", "")


def _logical(disk: Source, extended: int, disk_id: int) -> Iterator[Partition]:
    table = extended
    for number in range(5, 5 + _MOST_PARTITIONS):
        sector = disk.read(table * 512, 512)
        if sector[510:512] != b"\x55\xaa":
            raise BrokenError(f"logical partition {number} has no table")
        start, count = struct.unpack_from("<II", sector, 454)
        if sector[450] and count:
            part = _part(disk, (table + start) * 512, count * 512, number)
            yield Partition(number, part, f"{disk_id:08x}-{number:02x}", "")
        (following,) = struct.unpack_from("<I", sector, 470)
        if not sector[466] or not following:
            return
        table = extended + following
    raise BrokenError("its logical partitions have no end")


def _part(disk: Source, start: int, size: int, number: int) -> Source:
    """A disk that is shorter than its table says has lost its last partition's end, not all of it."""
    if size <= 0 or start >= disk.size:
        raise BrokenError(f"partition {number} lies outside its disk")
    return Part(disk, start, min(size, disk.size - start))
