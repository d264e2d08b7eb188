r"""Index objects: what lies in which pack, as writers leave it in the repository (docs/format.md, Index objects).

    header    64  magic "HFINDX\x00\x01", repository id 16, epoch u32, zeros 4, salt 32
    sealed     n  base u64, packs u32, then per pack: name 32, size u64, epoch u32, type u8, zeros 3, salt 32, table

An index object says where the records of some packs are, and which log entry its writer had read before it sent the
first of them (its base).
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3
from cryptography.exceptions import InvalidTag

from holdfast.core.errors import DamagedError
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.packs import DATA, NODES, Pack, PackHeader, decode_table, nonce

_HEADER: Final = struct.Struct("<8s16sI4x32s")
_MAGIC: Final = b"HFINDX\x00\x01"
_BODY: Final = struct.Struct("<QI")
_PACK: Final = struct.Struct("<32sQIB3x32s")
SEGMENTS_PER_INDEX_OBJECT: Final = 512 * 1024
"""About 20 MiB of tables, whatever a guest fills its disk with: index objects are made and read in memory."""

assert _HEADER.size == 64


def batches(packs: Iterable[Pack], most_packs: int) -> Iterator[list[Pack]]:
    """These packs, as many at a time as one index object is to list."""
    batch: list[Pack] = []
    segments = 0
    for pack in packs:
        batch.append(pack)
        segments += len(pack.table.ids)
        if len(batch) >= most_packs or segments >= SEGMENTS_PER_INDEX_OBJECT:
            yield batch
            batch, segments = [], 0
    if batch:
        yield batch


class IndexObject(NamedTuple):
    """Bytes, and the name that they say they have."""

    name: str
    blob: bytes


def encode_index_object(keys: Keys, base: int, packs: Sequence[Pack]) -> IndexObject:
    """An index object over these packs, sealed under a fresh salt."""
    salt = os.urandom(SALT_BYTES)
    header = _HEADER.pack(_MAGIC, keys.repository_id, keys.epoch, salt)
    body = [_BODY.pack(base, len(packs))]
    for pack in packs:
        fields = (bytes.fromhex(pack.name), pack.size, pack.header.epoch, pack.header.type, pack.header.salt)
        body += [_PACK.pack(*fields), pack.table.encode()]
    blob = header + keys.sealer(b"index", keys.epoch, salt).encrypt(nonce(0), b"".join(body), header)
    return IndexObject(f"index/{blake3(blob).hexdigest()}", blob)


class Listing(NamedTuple):
    """What the index object of that name says: its writer's base, and the packs."""

    name: str
    base: int
    packs: Sequence[Pack]


def decode_index_object(keys: Keys, blob: bytes, name: str) -> Listing:
    """Open and read an index object. Raises DamagedError naming it."""
    damaged = DamagedError(f"{name} is damaged", hint="run `holdfast repository check`", code="object-damaged")
    if len(blob) < _HEADER.size:
        raise damaged
    magic, owner, epoch, salt = _HEADER.unpack_from(blob)
    if magic != _MAGIC or owner != keys.repository_id:
        raise damaged
    header, sealed = blob[: _HEADER.size], memoryview(blob)[_HEADER.size :]
    try:
        body = keys.sealer(b"index", epoch, salt).decrypt(nonce(0), sealed, header)
        return Listing(name, *_decode_body(body))
    except (InvalidTag, struct.error) as error:
        raise damaged from error


def _decode_body(body: bytes) -> tuple[int, list[Pack]]:
    base, count = _BODY.unpack_from(body)
    at = _BODY.size
    packs = []
    for _ in range(count):
        name, size, epoch, kind, salt = _PACK.unpack_from(body, at)
        table, at = decode_table(body, at + _PACK.size)
        packs.append(Pack(name.hex(), size, PackHeader(epoch, NODES if kind == NODES else DATA, salt), table))
    return base, packs
