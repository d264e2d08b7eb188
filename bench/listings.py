"""A repository of index objects alone: what they list is made up, and sealed as the real ones are."""

import secrets
from pathlib import Path

import numpy as np
from blake3 import blake3

from holdfast.repository import KdfCost, LocalDirectory, create_repository
from holdfast.repository.index_objects import encode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packs import DATA, RECORD_ROW, Pack, PackHeader, PackTable

PASSPHRASE = b"bench"
SEGMENT_BYTES = 64 << 10
_RECORD_SEGMENTS = 4  # 256 KiB
_PACK_SEGMENTS = 512
_PACK_BYTES = 32 << 20
_PACKS = 64  # to an index object
_SEED = 64
_CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)


def make_listings(directory: Path, segments: int) -> int:
    """Make such a repository with at least so many segments; returns how many it has."""
    repository = create_repository(LocalDirectory.create(directory), PASSPHRASE, cost=_CHEAP)
    source = np.random.Generator(np.random.SFC64([_SEED, segments]))
    objects = -(-segments // (_PACKS * _PACK_SEGMENTS))
    for _ in range(objects):
        blob = _listing(repository.keys, source)
        repository.storage.put(f"index/{blake3(blob).hexdigest()}", [blob])
    return objects * _PACKS * _PACK_SEGMENTS


def _listing(keys: Keys, source: np.random.Generator) -> bytes:
    records = np.zeros(_PACK_SEGMENTS // _RECORD_SEGMENTS, RECORD_ROW)
    records["segments"] = _RECORD_SEGMENTS
    records["plain"] = _RECORD_SEGMENTS * SEGMENT_BYTES
    records["packed"] = _PACK_BYTES // len(records) - 32
    records["offset"] = np.arange(len(records)) * (records["packed"][0] + 16)
    sizes = np.full(_PACK_SEGMENTS, SEGMENT_BYTES, np.uint32)
    ids = np.frombuffer(source.bytes(_PACKS * _PACK_SEGMENTS * 32), np.uint8).reshape(_PACKS, _PACK_SEGMENTS, 32)
    packs = [
        Pack(
            name=secrets.token_hex(32),
            size=_PACK_BYTES,
            header=PackHeader(1, DATA, secrets.token_bytes(32)),
            table=PackTable(records, ids[number], sizes),
        )
        for number in range(_PACKS)
    ]
    return encode_index_object(keys, 1, packs).blob
