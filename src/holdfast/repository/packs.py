r"""Packs: the files that hold sealed records, and the tables that say what is in them (docs/format.md, Packs).

    header   64  magic "HFPACK\x00\x01", repository id 16, epoch u32, type u8 (1 data, 2 nodes), zeros 3, salt 32
    length    4  u32, bytes of the sealed table
    table     n  sealed
    records      each: magic "HFrc", number u32, packed u32, plain u32, then `packed` sealed bytes
    table     n  the same bytes again
    trailer  16  length u32 again, zeros 4, magic "HFPKEND\x01"

A record is one zstd frame of 1..n segments, sealed with AES-256-GCM under the pack's key and its number as nonce. Its
associated data binds repository, format, epoch, type, number, what it holds (BLAKE3-256 of ids and sizes) and both its
lengths. The table stands at both ends so that one bad sector hides nothing.
"""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.config import FORMAT
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.nodes import ID_BYTES

PackType = Literal[1, 2]
Read = Callable[[int, int], bytes]
DATA: Final[PackType] = 1
NODES: Final[PackType] = 2
TAG_BYTES: Final = 16
MAXIMUM_RECORD_BYTES: Final = 256 * 1024
MAXIMUM_PACKED_BYTES: Final = 2 * MAXIMUM_RECORD_BYTES
"""No compressor makes what cannot be compressed as much larger as this."""
HEADER: Final = struct.Struct("<8s16sIB3x32s")
RECORD_HEAD: Final = struct.Struct("<4sIII")
RECORD_MAGIC: Final = b"HFrc"
_MAGIC: Final = b"HFPACK\x00\x01"
_LENGTH: Final = struct.Struct("<I")
_TRAILER: Final = struct.Struct("<I4x8s")
_END_MAGIC: Final = b"HFPKEND\x01"
_TABLE_HEAD: Final = struct.Struct("<II")
_AAD: Final = struct.Struct("<16sHIBI32sII")
_OBJECT: Final = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
RECORD_ROW: Final = np.dtype([("offset", "<u4"), ("packed", "<u4"), ("plain", "<u4"), ("segments", "<u4")])

assert HEADER.size == 64
assert _TRAILER.size == 16
assert RECORD_ROW.itemsize == 16


def nonce(number: int) -> bytes:
    """The GCM nonce of the n-th thing sealed under one key."""
    return number.to_bytes(12, "little")


class PackHeader(NamedTuple):
    """What a pack says of itself in the clear."""

    epoch: int
    type: PackType
    salt: bytes


@dataclass(frozen=True, eq=False)
class PackTable:
    """What one pack holds.

    `records` are RECORD_ROW, with offsets of the sealed bytes in the file. `ids` (n, 32) and `sizes` (n, plain bytes)
    are the segments in the order of the records; inside a record segments lie back to back.
    """

    records: NDArray[np.void]
    ids: NDArray[np.uint8]
    sizes: NDArray[np.uint32]

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The number of each record's first segment, and one more: the count of segments."""
        return np.concatenate(([0], np.cumsum(self.records["segments"], dtype=np.int64)))

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Plain bytes before each segment, all records laid end to end, and one more: of all segments."""
        return np.concatenate(([0], np.cumsum(self.sizes, dtype=np.int64)))

    def segments_of(self, record: int) -> range:
        """The numbers of a record's segments."""
        return range(int(self.firsts[record]), int(self.firsts[record + 1]))

    def record_of(self, segment: int) -> int:
        """The record that holds a segment."""
        return int(np.searchsorted(self.firsts, segment, "right")) - 1

    def slice_of(self, record: int, segment: int) -> slice:
        """Where a segment lies in its record's plain frame."""
        start = int(self.ends[self.firsts[record]])
        return slice(int(self.ends[segment]) - start, int(self.ends[segment + 1]) - start)

    def encode(self) -> bytes:
        """Counts, then the three columns."""
        head = _TABLE_HEAD.pack(len(self.records), len(self.ids))
        return head + self.records.tobytes() + self.ids.tobytes() + self.sizes.astype("<u4").tobytes()


def object_of(name: str) -> str:
    """What the storage calls the pack of this name in hex."""
    return f"packs/{name[:2]}/{name}"


def pack_name(object_name: str) -> str | None:
    """The name in hex of the pack that is this object; None for what other programs leave below `packs/`."""
    match = _OBJECT.fullmatch(object_name)
    return match[2] if match else None


@dataclass(frozen=True, eq=False)
class Pack:
    """A durable pack: its name (hex), size in bytes, header and table."""

    name: str
    size: int
    header: PackHeader
    table: PackTable

    @property
    def object(self) -> str:
        """Its name in the storage."""
        return object_of(self.name)


def decode_table(plain: bytes, at: int = 0) -> tuple[PackTable, int]:
    """(the table that begins at byte `at`, the byte after it). Raises DamagedError if it contradicts itself."""
    try:
        records, segments = _TABLE_HEAD.unpack_from(plain, at)
        at += _TABLE_HEAD.size
        rows = np.frombuffer(plain, RECORD_ROW, records, at)
        at += rows.nbytes
        ids = np.frombuffer(plain, np.uint8, segments * ID_BYTES, at).reshape(-1, ID_BYTES)
        at += ids.nbytes
        sizes = np.frombuffer(plain, "<u4", segments, at)
        at += sizes.nbytes
    except (ValueError, struct.error) as error:
        raise DamagedError(f"a pack's table is cut off: {error}", code="object-damaged") from error
    table = PackTable(rows, ids, sizes)
    if not _is_plausible(table):
        raise DamagedError("a pack's table contradicts itself", code="object-damaged")
    return table, at


def _is_plausible(table: PackTable) -> bool:
    """Whether the columns fit together, and no record is empty, or larger than any can be: each is read into memory."""
    rows = table.records
    if not len(rows) or not rows["segments"].all() or int(table.firsts[-1]) != len(table.ids):
        return False
    plain = np.diff(table.ends[table.firsts])
    largest = max(int(rows["packed"].max()), int(rows["plain"].max()))
    return bool((plain == rows["plain"]).all()) and largest <= MAXIMUM_PACKED_BYTES


def record_context(
    repository_id: bytes, header: PackHeader, number: int, contents: bytes, plain: int, packed: int
) -> bytes:
    """A record's associated data. `contents` is the ids of its segments, then their sizes as u32."""
    digest = blake3(contents).digest()
    return _AAD.pack(repository_id, FORMAT, header.epoch, header.type, number, digest, plain, packed)


def encode_header(repository_id: bytes, header: PackHeader) -> bytes:
    """The first 64 bytes."""
    return HEADER.pack(_MAGIC, repository_id, header.epoch, header.type, header.salt)


def decode_header(blob: bytes, repository_id: bytes, name: str) -> PackHeader:
    """The header of the pack that `blob` begins with. Raises DamagedError."""
    if len(blob) < HEADER.size:
        raise DamagedError(f"{name} is cut off", code="object-damaged")
    magic, owner, epoch, kind, salt = HEADER.unpack_from(blob)
    if magic != _MAGIC or owner != repository_id or kind not in {DATA, NODES}:
        raise DamagedError(f"{name} is no pack of this repository", code="object-damaged")
    assert len(salt) == SALT_BYTES
    return PackHeader(epoch, kind, salt)


def seal_table(keys: Keys, header: PackHeader, table: PackTable) -> bytes:
    """The sealed table, as it stands at both ends of the pack."""
    context = encode_header(keys.repository_id, header)
    return keys.sealer(b"table", header.epoch, header.salt).encrypt(nonce(0), table.encode(), context)


def sealed_table_bytes(records: int, segments: int) -> int:
    """How long the sealed table of so many records and segments is: offsets are known before it is sealed."""
    return _TABLE_HEAD.size + records * RECORD_ROW.itemsize + segments * (ID_BYTES + 4) + TAG_BYTES


def front(sealed: bytes) -> bytes:
    """What stands between header and records."""
    return _LENGTH.pack(len(sealed)) + sealed


def back(sealed: bytes) -> bytes:
    """What stands after the records."""
    return sealed + _TRAILER.pack(len(sealed), _END_MAGIC)


def open_table(keys: Keys, read: Read, size: int, name: str) -> tuple[PackHeader, PackTable]:
    """Header and table of a pack of this size, from the first good copy of the table. Raises DamagedError.

    `read` gives the bytes at (offset, length); whatever it raises ends this too.
    """
    if size < HEADER.size:
        raise DamagedError(f"{name} is cut off", code="object-damaged")
    head = read(0, HEADER.size)
    header = decode_header(head, keys.repository_id, name)
    sealer = keys.sealer(b"table", header.epoch, header.salt)
    for start, length in _table_places(read, size):
        with suppress(InvalidTag, DamagedError):
            return header, decode_table(sealer.decrypt(nonce(0), read(start, length), head))[0]
    raise DamagedError(f"both tables of {name} are damaged", code="object-damaged")


def _table_places(read: Read, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of the front and back copies, as far as their lengths make sense."""
    first = HEADER.size + _LENGTH.size
    if size >= first:
        (length,) = _LENGTH.unpack(read(HEADER.size, _LENGTH.size))
        if first + length <= size:
            yield first, length
    end = size - _TRAILER.size
    if end >= first:
        length, magic = _TRAILER.unpack(read(end, _TRAILER.size))
        if magic == _END_MAGIC and end - length >= first:
            yield end - length, length
