"""VMDK files: the descriptor inside one, and the streamOptimized kind, which is written from its begin to its end.

Source: VMware, Virtual Disk Format 5.0. Sectors have 512 bytes, integers are little-endian.

    header       version 3, flags for markers and compressed grains; the grain directory is "at the end"
    descriptor   text
    grains       each: first sector u64, bytes u32, a zlib stream; up to a whole sector; those of zeros are missing
    tables       after the grains of each 32 MiB: a marker, then where each of its 512 grains is
    directory    a marker, then where each table is
    footer       a marker, the header again that says where the directory is, and a sector of zeros
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holdfast.core.errors import FailedError

GRAIN_BYTES: Final = 64 * 1024
_SECTOR: Final = 512
_GRAINS_PER_TABLE: Final = 512
_DESCRIPTOR_SECTORS: Final = 20
_OVERHEAD_SECTORS: Final = 128
_AT_END: Final = (1 << 64) - 1
_FLAGS: Final = 0x30001  # lines end as said below, grains are compressed, there are markers
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQ?4sH433x")
_GRAIN: Final = struct.Struct("<QI")
_MARKER: Final = struct.Struct("<QII496x")
_TABLE, _DIRECTORY, _FOOTER = 1, 2, 3
_LEVEL: Final = 1

assert _HEADER.size == _MARKER.size == _SECTOR


def rename_extent(path: Path, old: str, new: str) -> None:
    """Let the descriptor inside a VMDK call its file by another name, not longer than the old. Raises FailedError."""
    try:
        with path.open("r+b") as file:
            fields = _HEADER.unpack(file.read(_HEADER.size))
            offset, sectors = fields[5], fields[6]
            file.seek(offset * _SECTOR)
            descriptor = file.read(sectors * _SECTOR)
            file.seek(offset * _SECTOR)
            file.write(descriptor.replace(f'"{old}"'.encode(), f'"{new}"'.encode()).ljust(len(descriptor), b"\0"))
    except (OSError, struct.error) as error:
        raise FailedError(f"{path}: cannot write its descriptor: {error}") from error


class StreamOptimized:
    """The bytes of a streamOptimized VMDK, made as its grains come. `position` is how many there are by now."""

    def __init__(self, name: str, size_bytes: int) -> None:
        self._capacity = -(-size_bytes // _SECTOR)
        self._name = name
        self._table: dict[int, int] = {}
        self._tables: dict[int, int] = {}
        self.position = 0

    def begin(self) -> Iterator[bytes]:
        """What comes before the first grain."""
        yield self._counted(self._header(_AT_END))
        yield self._counted(self._descriptor().ljust(_DESCRIPTOR_SECTORS * _SECTOR, b"\0"))
        yield self._counted(bytes(_OVERHEAD_SECTORS * _SECTOR - self.position))

    def grain(self, number: int, packed: bytes) -> Iterator[bytes]:
        """One more grain, compressed by `pack`; numbers ascend."""
        if self._table and number // _GRAINS_PER_TABLE != next(iter(self._table)) // _GRAINS_PER_TABLE:
            yield from self._end_table()
        self._table[number] = self.position // _SECTOR
        yield self._padded(_GRAIN.pack(number * GRAIN_BYTES // _SECTOR, len(packed)) + packed)

    def end(self) -> Iterator[bytes]:
        """What comes after the last grain."""
        yield from self._end_table()
        count = -(-self._capacity * _SECTOR // (GRAIN_BYTES * _GRAINS_PER_TABLE))
        directory = struct.pack(f"<{count}I", *(self._tables.get(number, 0) for number in range(count)))
        yield from self._marked(_DIRECTORY, directory)
        at = self.position // _SECTOR - -(-len(directory) // _SECTOR)
        yield from self._marked(_FOOTER, self._header(at))
        yield self._counted(bytes(_SECTOR))

    def _end_table(self) -> Iterator[bytes]:
        if not self._table:
            return
        number = next(iter(self._table)) // _GRAINS_PER_TABLE
        first = number * _GRAINS_PER_TABLE
        entries = (self._table.get(first + slot, 0) for slot in range(_GRAINS_PER_TABLE))
        yield from self._marked(_TABLE, struct.pack(f"<{_GRAINS_PER_TABLE}I", *entries))
        self._tables[number] = self.position // _SECTOR - _GRAINS_PER_TABLE * 4 // _SECTOR
        self._table = {}

    def _marked(self, kind: int, content: bytes) -> Iterator[bytes]:
        yield self._counted(_MARKER.pack(-(-len(content) // _SECTOR), 0, kind))
        yield self._padded(content)

    def _header(self, directory: int) -> bytes:
        return _HEADER.pack(
            *(b"KDMV", 3, _FLAGS, self._capacity, GRAIN_BYTES // _SECTOR, 1, _DESCRIPTOR_SECTORS, _GRAINS_PER_TABLE),
            *(0, directory, _OVERHEAD_SECTORS, False, b"\n \r\n", 1),
        )

    def _descriptor(self) -> bytes:
        cylinders = max(1, min(self._capacity // (255 * 63), 65535))
        return (
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
            'createType="streamOptimized"\n\n# Extent description\n'
            f'RDONLY {self._capacity} SPARSE "{self._name}"\n\n# The Disk Data Base\n#DDB\n'
            'ddb.adapterType = "lsilogic"\nddb.virtualHWVersion = "10"\n'
            f'ddb.geometry.cylinders = "{cylinders}"\nddb.geometry.heads = "255"\nddb.geometry.sectors = "63"\n'
        ).encode()

    def _padded(self, content: bytes) -> bytes:
        return self._counted(content.ljust(-(-len(content) // _SECTOR) * _SECTOR, b"\0"))

    def _counted(self, content: bytes) -> bytes:
        self.position += len(content)
        return content


def pack(grain: memoryview) -> bytes:
    """A grain as it is stored; one at a disk's end is filled up with zeros."""
    return zlib.compress(bytes(grain).ljust(GRAIN_BYTES, b"\0"), _LEVEL)
