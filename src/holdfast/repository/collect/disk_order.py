"""The order in which the newest disks need records: rewritten in it, an aged machine restores like a fresh one."""

from collections.abc import Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.config import Cut
from holdfast.repository.disk import StoredDisk
from holdfast.repository.nodes import ID_BYTES, leaf_ids
from holdfast.repository.records import Records
from holdfast.repository.state import State

_LEAVES_AT_ONCE = 1024

RecordKey = tuple[int, int]
"""A pack's number in the index, and the number of a record in it."""


def ranks_in_disk_order(records: Records, cut: Cut, state: State, packs: Collection[int]) -> dict[RecordKey, int]:
    """Where each record of these packs comes when the newest points are read from the beginning to the end.

    Records that only older points need have no rank.
    """
    ranks: dict[RecordKey, int] = {}
    for root in _newest_roots(state):
        try:
            disk = StoredDisk(records, records.keys, cut, bytes.fromhex(root))
            for places in _places_of_data(records, disk):
                for key in _records_met(records, places[np.isin(places[:, 0], list(packs))]):
                    ranks.setdefault(key, len(ranks))
        except DamagedError:
            continue  # the order is a favour; what is damaged is told elsewhere
    return ranks


def _newest_roots(state: State) -> Iterator[str]:
    """The disks of the newest point of each machine."""
    newest = {each.point.machine_id: each.point for each in state.standings.values()}
    for point in newest.values():
        for disk in point.disks:
            yield disk.root


def _places_of_data(records: Records, disk: StoredDisk) -> Iterator[NDArray[np.int64]]:
    """The places of a disk's leaves and of its segments, in its order, some at a time."""
    batch: list[bytes] = []
    leaves: list[bytes] = []
    for _, leaf in disk.leaves():
        if leaf:
            leaves.append(leaf)
            batch.append(leaf_ids(disk.read_node(leaf)))
        if len(batch) >= _LEAVES_AT_ONCE:
            yield _places(records, leaves)
            yield _places(records, batch)
            batch, leaves = [], []
    yield _places(records, leaves)
    yield _places(records, batch)


def _places(records: Records, ids: Iterable[bytes]) -> NDArray[np.int64]:
    joined = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)
    return records.index.places(joined) if len(joined) else np.empty((0, 2), np.int64)


def _records_met(records: Records, places: NDArray[np.int64]) -> Iterator[RecordKey]:
    """The record of each place, in order."""
    numbers = np.empty(len(places), np.int64)
    for pack in np.unique(places[:, 0]).tolist():
        mine = places[:, 0] == pack
        numbers[mine] = np.searchsorted(records.index.packs[pack].table.firsts, places[mine, 1], "right") - 1
    yield from zip(places[:, 0].tolist(), numbers.tolist(), strict=True)
