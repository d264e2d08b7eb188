"""Marking: what some trees reach, as one bit for each place in the index. Every distinct node is read once.

All trees are walked together, level by level. The nodes of a level are looked up in bulk and read in the order of the
packs; of a leaf map only its ids are looked at. What is kept is bits, whatever the number of points.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.repository.collect.bulk import read_segments
from holdfast.repository.index import Index, Place
from holdfast.repository.nodes import ID_BYTES, decode_page, decode_root, leaf_ids
from holdfast.repository.packs import Pack
from holdfast.repository.records import BlockMissingError, Records
from holdfast.repository.state import PackRecord
from holdfast.repository.stretches import equal_stretches

_REFERENCES_AT_ONCE: Final = 512 * 1024
_IDS_REMEMBERED: Final = 2 * 1024 * 1024
"""16 bytes each: the segments of some 128 GiB."""

Ids = NDArray[np.uint8]
Places = NDArray[np.int64]


class Marks:
    """One bit for each segment of each pack, in memory from a pack's first mark on. Packs go by their number."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._firsts = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._end = 0
        self._bits = np.zeros(0, np.uint8)

    def take(self, places: Places) -> NDArray[np.intp]:
        """Mark these places. Returns the rows that were not marked before, each place once, in the order of packs."""
        positions = self._positions(places)
        order = np.argsort(positions)
        ordered = positions[order]
        fresh = np.diff(ordered, prepend=-1) != 0
        fresh &= self._are_set(ordered) == 0
        self._set(ordered[fresh])
        rows: NDArray[np.intp] = order[fresh]
        return rows

    def are_set(self, places: Places) -> NDArray[np.bool_]:
        """Which of these places are marked."""
        return self._are_set(self._positions(places)).view(np.bool_)

    def of(self, pack: int) -> NDArray[np.bool_]:
        """Which segments of a pack are marked."""
        self._make_room([pack])
        first, count = int(self._firsts[pack]) >> 3, int(self._counts[pack])
        return np.unpackbits(self._bits[first : first + -(-count // 8)], count=count, bitorder="little").view(np.bool_)

    def packs(self) -> list[int]:
        """The packs of which something is marked."""
        return [pack for pack in np.flatnonzero(self._firsts >= 0).tolist() if self.of(pack).any()]

    def _positions(self, places: Places) -> NDArray[np.int64]:
        """The bit of each place."""
        packs = places[:, 0]
        self._make_room(np.flatnonzero(np.bincount(packs)).tolist())
        positions: NDArray[np.int64] = self._firsts[packs] + places[:, 1]
        return positions

    def _are_set(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        bits: NDArray[np.uint8] = self._bits[positions >> 3] >> (positions & 7).astype(np.uint8) & 1
        return bits

    def _set(self, positions: NDArray[np.int64]) -> None:
        """Set ascending bits, those of one byte in one go."""
        if len(positions):
            octets = positions >> 3
            firsts = np.flatnonzero(np.diff(octets, prepend=-1))
            masks = np.left_shift(1, positions & 7).astype(np.uint8)
            self._bits[octets[firsts]] |= np.bitwise_or.reduceat(masks, firsts)

    def _make_room(self, packs: list[int]) -> None:
        """Give those packs bits that have none yet, each from a whole byte on."""
        if packs and packs[-1] >= len(self._firsts):
            more = max(packs[-1] + 1, 2 * len(self._firsts)) - len(self._firsts)
            self._firsts = np.append(self._firsts, np.full(more, -1, np.int64))
            self._counts = np.append(self._counts, np.zeros(more, np.int64))
        for pack in packs:
            if self._firsts[pack] < 0:
                self._firsts[pack] = self._end
                self._counts[pack] = len(self._index.packs[pack].table.ids)
                self._end += 8 * -(-int(self._counts[pack]) // 8)
        if self._end > 8 * len(self._bits):
            more = max(self._end // 8, 2 * len(self._bits)) - len(self._bits)
            self._bits = np.append(self._bits, np.zeros(more, np.uint8))


class _Lately:
    """The ids that were marked lately: what two versions of a region have in common is looked up once.

    By 16 bytes of the id, which no two ids share: they are keyed hashes.
    """

    def __init__(self) -> None:
        self._held = np.zeros((_IDS_REMEMBERED, 2), np.uint64)

    def others(self, ids: Ids) -> Ids:
        """Those of these ids that are not known to be marked; from now on they are."""
        words = np.ascontiguousarray(ids).view(np.uint64)[:, :2]
        slots = words[:, 0] & (_IDS_REMEMBERED - 1)
        held = self._held[slots]
        rows = np.flatnonzero((held[:, 0] != words[:, 0]) | (held[:, 1] != words[:, 1]))
        self._held[slots[rows]] = words[rows]
        return ids[rows]


class Marking:
    """Marks what roots reach, on one index. An id is reached at one place; others that hold it too stay unmarked."""

    def __init__(self, records: Records) -> None:
        self.marks = Marks(records.index)
        self._records = records
        self._index = records.index
        self._id_key = records.keys.node_id_key
        self._shunned: dict[int, NDArray[np.bool_]] = {}
        self._lately = _Lately()

    def mark(self, roots: Iterable[bytes]) -> None:
        """Mark all that these roots reach and that is not marked yet. Raises BlockMissingError, DamagedError."""
        below: dict[int, list[bytes]] = defaultdict(list)
        for plain in self._fresh_nodes(list(roots)):
            root = decode_root(plain)
            if root.top:
                below[root.depth].append(root.top)
        for level in range(max(below, default=0), 0, -1):
            for plain in self._fresh_nodes(below.pop(level, [])):
                below[level - 1] += decode_page(plain, level).values()
        self._mark_segments(below[0])

    def move_from(self, packs: Iterable[int]) -> None:
        """The index has dropped these packs: mark another place of each id that is marked in them."""
        for ids in ids_in(self._index.packs, packs, self.marks.of):
            self._mark_ids(ids)

    def shun(self, damaged: Iterable[PackRecord]) -> None:
        """These records count for nothing: mark another place of each id that is marked in them."""
        for number, segments in self._segments_of(damaged).items():
            self._shunned[number] = self._shunned.get(number, False) | segments
            self._mark_ids(self._index.packs[number].table.ids[self.marks.of(number) & segments])

    def kept(self, ids: Ids) -> Places:
        """The place that a mark of each id is at: never in a record that is shunned; -1 where there is none."""
        places = self._index.places(ids)
        for row in np.flatnonzero(self._are_shunned(places)).tolist():
            try:
                places[row] = self._sound_copy(ids[row].tobytes())
            except BlockMissingError:
                places[row] = -1
        return places

    def _are_shunned(self, places: Places) -> NDArray[np.bool_]:
        found = np.zeros(len(places), np.bool_)
        for number, segments in self._shunned.items():
            mine = np.flatnonzero(places[:, 0] == number)
            found[mine] = segments[places[mine, 1]]
        return found

    def _segments_of(self, damaged: Iterable[PackRecord]) -> Mapping[int, NDArray[np.bool_]]:
        """By pack number: which segments lie in these records. Packs that the index does not know are left out."""
        records: dict[str, set[int]] = defaultdict(set)
        for name, record in damaged:
            records[name].add(record)
        found = {}
        for number, pack in enumerate(self._index.packs if records else ()):
            if pack.name in records:
                bad = np.isin(np.arange(len(pack.table.records)), list(records[pack.name]))
                found[number] = np.repeat(bad, pack.table.records["segments"])
        return found

    def _mark_segments(self, leaves: list[bytes]) -> None:
        """Mark what these leaf maps reach, many at a time: versions of one region have most of it in common."""
        batch: list[bytes] = []
        size = 0
        for plain in self._fresh_nodes(leaves):
            batch.append(leaf_ids(plain))
            size += len(batch[-1])
            if size >= _REFERENCES_AT_ONCE * ID_BYTES:
                self._mark_ids(self._lately.others(_array(batch)))
                batch, size = [], 0
        self._mark_ids(self._lately.others(_array(batch)))

    def _mark_ids(self, ids: Ids) -> None:
        if len(ids):
            self.marks.take(self._places(distinct(ids)))

    def _fresh_nodes(self, wanted: list[bytes]) -> Iterator[bytes]:
        """The bytes of those nodes that were not marked yet; marks them."""
        if not wanted:
            return
        ids = distinct(_array(wanted))
        places = self._places(ids)
        rows = self.marks.take(places)
        packs = places[rows, 0]
        yield from self._read(
            (self._index.packs[int(packs[first])], places[rows[first:last], 1])
            for first, last in equal_stretches(packs)
        )

    def _read(self, wanted: Iterable[tuple[Pack, NDArray[np.int64]]]) -> Iterator[bytes]:
        """Ascending nodes of each pack, proved by their ids; from another copy where that fails."""
        for pack, segment, plain in read_segments(self._records, wanted):
            node = pack.table.ids[segment].tobytes()
            if blake3(plain, key=self._id_key).digest() == node:
                yield bytes(plain)
            else:
                self.shun([(pack.name, pack.table.record_of(segment))])
                place = self._sound_copy(node)
                yield from self._read([(self._index.packs[place.pack], np.array([place.segment]))])

    def _places(self, ids: Ids) -> Places:
        """A place of each id, in no record that is shunned. Raises BlockMissingError."""
        places = self._index.places(ids)
        doubtful = places[:, 0] < 0
        for number, segments in self._shunned.items():
            mine = np.flatnonzero(places[:, 0] == number)
            doubtful[mine] = segments[places[mine, 1]]
        for row in np.flatnonzero(doubtful).tolist():
            places[row] = self._sound_copy(ids[row].tobytes())
        return places

    def _sound_copy(self, wanted: bytes) -> Place:
        for place in self._index.copies(wanted):
            if place.pack not in self._shunned or not self._shunned[place.pack][place.segment]:
                return place
        raise BlockMissingError(wanted, None)


def ids_in(packs: Sequence[Pack], numbers: Iterable[int], wanted: Callable[[int], NDArray[np.bool_]]) -> Iterator[Ids]:
    """The wanted ids of these packs, those of many packs in one piece: it takes as long to look up one as hundreds."""
    batch: list[Ids] = []
    size = 0
    for number in numbers:
        batch.append(packs[number].table.ids[wanted(number)])
        size += len(batch[-1])
        if size >= _REFERENCES_AT_ONCE:
            yield np.concatenate(batch)
            batch, size = [], 0
    if batch:
        yield np.concatenate(batch)


def _array(ids: list[bytes]) -> Ids:
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)


def distinct(ids: Ids) -> Ids:
    """The ids in the order in which the index keeps them, hardly any of them twice.

    In that order ids are looked up several times as fast as shuffled.
    """
    words = np.ascontiguousarray(ids).view(np.uint64)
    keys = words[:, 0].copy()
    order = np.argsort(keys)
    keys = keys[order]
    fresh: NDArray[np.bool_] = np.diff(keys, prepend=~keys[:1]) != 0
    again = np.flatnonzero(~fresh)
    fresh[again] = (words[order[again]] != words[order[again - 1]]).any(axis=1)
    return words[order[fresh]].view(np.uint8)
