"""What the newest disks need, and in which order: rewritten in it, an aged machine restores like a fresh one."""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.collect.marking import Marks
from holdfast.repository.collect.rewriting import ReachedRecord
from holdfast.repository.config import Cut
from holdfast.repository.disk import StoredDisk
from holdfast.repository.nodes import ID_BYTES, leaf_ids
from holdfast.repository.records import Records
from holdfast.repository.state import State
from holdfast.repository.stretches import equal_stretches

_LEAVES_AT_ONCE: Final = 1024
_WORTH_SPLITTING: Final = 1 / 8
"""Share of a record that only older points need: each restore of a newest one would read and decompress it in vain."""
_LAST: Final = 2**62


class Part(NamedTuple):
    """What of a record is to be copied together, and where in the order of the newest disks that comes."""

    rank: int
    record: ReachedRecord

    @property
    def is_new(self) -> bool:
        """Whether the newest disks need it."""
        return self.rank < _LAST


class NewestNeeds:
    """What the newest points need of all packs."""

    def __init__(self, records: Records, cut: Cut, state: State) -> None:
        self._records = records
        self._marks = Marks(records.index)
        for places in _places_of_newest(records, cut, state):
            self._marks.take(places[places[:, 0] >= 0])

    def vain_share(self, pack: int) -> float:
        """How much of a pack's plain bytes is read for the newest points and not needed by them."""
        needed = self._marks.of(pack)
        if not needed.any():
            return 0.0
        table = self._records.index.packs[pack].table
        holders = np.repeat(np.arange(len(table.records)), table.records["segments"])
        met = table.records["plain"][np.unique(holders[needed])].sum(dtype=np.int64)
        return float((met - table.sizes[needed].sum(dtype=np.int64)) / table.ends[-1])


class DiskOrder:
    """What the newest points need of some packs, in the order in which they need it.

    Each record of these packs that they need has a rank; whatever only older points need comes after all of them.
    """

    def __init__(self, records: Records, cut: Cut, state: State, packs: Collection[int]) -> None:
        tables = {number: records.index.packs[number].table for number in packs}
        self._ranks = {number: np.full(len(table.records), _LAST, np.int64) for number, table in tables.items()}
        self._needed = {number: np.zeros(len(table.ids), np.bool_) for number, table in tables.items()}
        self._tables = tables
        self._met = 0
        for places in _places_of_newest(records, cut, state):
            self._meet(places)

    def _meet(self, places: NDArray[np.int64]) -> None:
        """A newest disk needs these (pack, segment), in this order."""
        rows = np.flatnonzero(np.isin(places[:, 0], list(self._tables)))
        rows = rows[np.argsort(places[rows, 0], kind="stable")]
        for first, last in equal_stretches(places[rows, 0]):
            mine = rows[first:last]
            pack, segments = int(places[mine[0], 0]), places[mine, 1]
            self._needed[pack][segments] = True
            holders = self._tables[pack].firsts.searchsorted(segments, "right") - 1
            np.minimum.at(self._ranks[pack], holders, self._met + mine)
        self._met += len(places)

    def parts(self, pack: int, record: ReachedRecord) -> Iterator[Part]:
        """The record, in two if the newest points would read too much of it that only older ones need."""
        rank = int(self._ranks[pack][record.number])
        needed = self._needed[pack][list(record.segments)]
        reached = np.array(record.segments)
        older = int(record.pack.table.sizes[reached[~needed]].sum())
        if rank == _LAST or older < _WORTH_SPLITTING * int(record.pack.table.records[record.number]["plain"]):
            yield Part(rank, record)
            return
        yield Part(rank, record._replace(segments=reached[needed].tolist()))
        yield Part(_LAST, record._replace(segments=reached[~needed].tolist()))


def _places_of_newest(records: Records, cut: Cut, state: State) -> Iterator[NDArray[np.int64]]:
    """(pack, segment) of what the newest points read, disk by disk, each from the beginning to the end."""
    for root in _newest_roots(state):
        try:
            yield from _places_of_data(records, StoredDisk(records, records.keys, cut, bytes.fromhex(root)))
        except DamagedError:
            continue  # the order is a favour; what is damaged is told elsewhere


def _newest_roots(state: State) -> Iterator[str]:
    """The disks of the newest live point of each machine."""
    newest = {point.machine_id: point for point in state.points.values()}
    for point in newest.values():
        for disk in point.disks:
            yield disk.root


def _places_of_data(records: Records, disk: StoredDisk) -> Iterator[NDArray[np.int64]]:
    """The places of a disk's leaves and of its segments, in its order, some at a time."""
    leaves = disk.leaf_maps()
    while batch := list(islice(leaves, _LEAVES_AT_ONCE)):
        yield _places(records, [leaf.id for leaf in batch])
        yield _places(records, [leaf_ids(leaf.content) for leaf in batch])


def _places(records: Records, ids: Iterable[bytes]) -> NDArray[np.int64]:
    joined = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)
    return records.index.places(joined) if len(joined) else np.empty((0, 2), np.int64)
