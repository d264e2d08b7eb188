"""Listing packs anew: durable index objects over packs that are there already."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from blake3 import blake3

from holdfast.repository.index_objects import encode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packs import Pack
from holdfast.repository.storage.port import Storage

_PACKS: Final = 1024
_SEGMENTS: Final = 512 * 1024
"""About 20 MiB of tables: index objects are made and read in memory."""


def put_index_objects(storage: Storage, keys: Keys, base: int, packs: Iterable[Pack]) -> int:
    """List these packs in as few index objects as their size allows. Returns the bytes stored."""
    stored_bytes = 0
    for batch in _batches(packs):
        blob = encode_index_object(keys, base, batch)
        storage.put(f"index/{blake3(blob).hexdigest()}", [blob])
        stored_bytes += len(blob)
    return stored_bytes


def _batches(packs: Iterable[Pack]) -> Iterator[Sequence[Pack]]:
    batch: list[Pack] = []
    segments = 0
    for pack in packs:
        batch.append(pack)
        segments += len(pack.table.ids)
        if len(batch) >= _PACKS or segments >= _SEGMENTS:
            yield batch
            batch, segments = [], 0
    if batch:
        yield batch
