"""Packs that exist on paper only: all that an index knows of one is its table."""

from collections.abc import Sequence
from random import Random

import numpy as np

from holdfast.repository.packs import DATA, RECORD_ROW, Pack, PackHeader, PackTable

REPOSITORY = bytes(range(16))


def a_pack(name: str, ids: Sequence[bytes]) -> Pack:
    """Two segments to a record, all sizes different."""
    source = Random(name)
    records = np.zeros(-(-len(ids) // 2), RECORD_ROW)
    records["segments"] = 2
    records["segments"][-1:] = 2 - len(ids) % 2
    records["offset"] = np.arange(len(records)) * 1000
    records["packed"] = 900
    sizes = np.arange(len(ids), dtype=np.uint32) + 4096
    table = PackTable(records, np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 32), sizes)
    return Pack(name, 1000 + len(ids), PackHeader(1, DATA, source.randbytes(32)), table)


def packs_of(seed: int, count: int, segments: int) -> list[Pack]:
    """Some packs, no two ids alike."""
    source = Random(seed)
    return [a_pack(source.randbytes(32).hex(), [source.randbytes(32) for _ in range(segments)]) for _ in range(count)]


def ids_in(packs: Sequence[Pack]) -> list[bytes]:
    return [row.tobytes() for pack in packs for row in pack.table.ids]
