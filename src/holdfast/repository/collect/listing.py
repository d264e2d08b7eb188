"""Listing packs anew: durable index objects over packs that are there already."""

from collections.abc import Iterable
from functools import partial
from typing import Final

from holdfast.repository.index_objects import batches, encode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packs import Pack
from holdfast.repository.storage.ballast import with_ballast
from holdfast.repository.storage.port import Storage

_PACKS: Final = 1024


def put_index_objects(storage: Storage, keys: Keys, base: int, packs: Iterable[Pack]) -> int:
    """List these packs in as few index objects as their size allows. Returns the bytes stored."""
    stored_bytes = 0
    for batch in batches(packs, _PACKS):
        name, blob = encode_index_object(keys, base, batch)
        with_ballast(storage, partial(storage.put, name, [blob]))
        stored_bytes += len(blob)
    return stored_bytes
