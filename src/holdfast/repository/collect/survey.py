"""What a collection has to know before it decides: which packs there are, and what of them the points reach."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.repository.collect.bulk import read_segments
from holdfast.repository.collect.disk_order import DiskOrder, NewestNeeds
from holdfast.repository.collect.marking import Ids, Marking, Places, distinct, ids_in
from holdfast.repository.collect.plan import CollectionPlan, PackUse, plan_collection
from holdfast.repository.collect.rewriting import ReachedRecord
from holdfast.repository.config import Cut
from holdfast.repository.index_objects import Listing, decode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packs import DATA, Pack, object_of, pack_name
from holdfast.repository.records import Records, pack_from_storage
from holdfast.repository.state import PackRecord, Standing, State
from holdfast.repository.storage.port import ObjectMissingError, Storage, StorageError, Stored
from holdfast.repository.stretches import equal_stretches


class IndexObject(NamedTuple):
    """An index object's size in bytes, and the packs it lists."""

    size: int
    packs: Collection[str]


class Survey:
    """The repository as of one state of the log, and then of later ones.

    The log is read before the index, and the index before the names of packs: what a point needs is listed, and what is
    listed has a name. What is missing all the same is lost, or a collection has been at work since the log was read.
    """

    def __init__(self, storage: Storage, keys: Keys, cut: Cut, state: State) -> None:
        self.state = state
        self.records = Records(storage, keys)
        self.marking = Marking(self.records)
        self.numbers: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        """Packs that are there, by name, with their sizes."""
        self.gone: frozenset[str] = frozenset()
        """Packs that were listed before the names were, and are not there: nothing in them is ever marked."""
        self.locked: frozenset[str] = frozenset()
        """Packs that were found locked in the store."""
        self.index_objects: dict[str, IndexObject] = {}
        self._storage = storage
        self._keys = keys
        self._cut = cut
        self._newest: NewestNeeds | None = None

    def look(self, unlisted: Collection[str] = ()) -> None:
        """See what there is and mark what points reach. Raises BlockMissingError if they need what is not there.

        What no index object lists does not count, except for these `unlisted` packs.
        """
        self._load_index()
        self._list_packs()
        self._drop_lost()
        self._look_into(unlisted)
        self._load_index()  # packs that have been listed since are nobody's garbage
        self.records.index.drop(self.state.condemned)
        self.marking.shun(self.state.damaged)
        self._mark(self.state.standings.values())

    def follow(self, state: State) -> None:
        """Take in what has been decided since. Raises BlockMissingError."""
        before, self.state = self.state, state
        self._load_index()
        condemned = state.condemned.keys() - before.condemned.keys()
        self.records.index.drop(condemned)
        self.marking.move_from(self.numbers[name] for name in condemned & self.numbers.keys())
        self.marking.shun(state.damaged.keys() - before.damaged.keys())
        self._mark(each for name, each in state.standings.items() if each is not before.standings.get(name))

    def point_in_need(self) -> RestorePoint | None:
        """A point that lacks something."""
        for standing in self.state.standings.values():
            marking = Marking(self.records)
            try:
                marking.shun(self.state.damaged)
                marking.mark(roots_of([standing.point]))
            except DamagedError:
                return standing.point
        return None

    def plan(self) -> CollectionPlan:
        """What to do about it."""
        condemned = self.state.condemned
        leftovers = {name: size for name, size in self.stored.items() if name in condemned}
        lists = {name: each.packs for name, each in self.index_objects.items()}
        return plan_collection(self._uses(), leftovers, lists, condemned, self.locked, self._vain_share)

    def order(self, names: Iterable[str]) -> DiskOrder:
        """In which order the newest points need what is in these packs."""
        return DiskOrder(self.records, self._cut, self.state, {self.numbers[name] for name in names})

    def add(self, packs: Collection[Pack]) -> None:
        """Take in packs of our own, of which everything is needed."""
        self.records.index.add(packs)
        self._number_packs()
        for pack in packs:
            segments = np.arange(len(pack.table.ids))
            self.marking.marks.take(np.stack([np.full_like(segments, self.numbers[pack.name]), segments], axis=1))
            self.stored[pack.name] = pack.size

    def forget(self, objects: Collection[str]) -> None:
        """These packs and index objects have been deleted."""
        for name in objects:
            self.index_objects.pop(name, None)
            if pack := pack_name(name):
                self.stored.pop(pack, None)

    def reached_records(self, name: str) -> Iterator[ReachedRecord]:
        """What is reached of a pack."""
        pack = self.records.index.packs[self.numbers[name]]
        segments = np.flatnonzero(self.marking.marks.of(self.numbers[name]))
        records = pack.table.firsts.searchsorted(segments, "right") - 1
        numbers, reached = records.tolist(), segments.tolist()
        for first, last in equal_stretches(records):
            yield ReachedRecord(pack, numbers[first], reached[first:last])

    def marked(self, name: str) -> int:
        """How many segments of a pack are reached."""
        return int(self.marking.marks.of(self.numbers[name]).sum()) if name in self.numbers else 0

    def damaged_among_kept(self, going: Iterable[str]) -> set[PackRecord]:
        """Records that would be left as the only copy of something, and cannot be read.

        Several copies are rare, and may well have been made because one of them was damaged: so what is to be the last
        is read before the others go.
        """
        damaged: set[PackRecord] = set()
        marks = self.marking.marks
        numbers = sorted(self.numbers[name] for name in going if name in self.numbers)
        for ids in ids_in(self.records.index.packs, numbers, lambda number: ~marks.of(number)):
            damaged |= self._damaged_instead_of(distinct(ids))
        return damaged

    def _damaged_instead_of(self, ids: Ids) -> set[PackRecord]:
        """Records that cannot be read and hold the marked copy of one of these ids."""
        marks = self.marking.marks
        places = self.marking.kept(ids)
        places = places[places[:, 0] >= 0]
        places = places[marks.are_set(places)]
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
        return set(self._damaged_in(self._by_pack(places)))

    def _by_pack(self, places: Places) -> Iterator[tuple[Pack, NDArray[np.int64]]]:
        """Each pack of which there are places, which ascend, and the segments of these."""
        for first, last in equal_stretches(places[:, 0]):
            yield self.records.index.packs[int(places[first, 0])], places[first:last, 1]

    def _damaged_in(self, wanted: Iterable[tuple[Pack, NDArray[np.int64]]]) -> Iterator[PackRecord]:
        """Records of packs in which one of these segments, which ascend, is not what the table says."""
        keys = self.records.keys
        for pack, segment, plain in read_segments(self.records, wanted):
            id_key = keys.data_id_key if pack.header.type == DATA else keys.node_id_key
            if blake3(plain, key=id_key).digest() != pack.table.ids[segment].tobytes():
                yield pack.name, pack.table.record_of(segment)

    def _mark(self, standings: Iterable[Standing]) -> None:
        """Mark what points need, and the pictures of their trials. Raises BlockMissingError."""
        looked_at = list(standings)
        self.marking.mark(roots_of(each.point for each in looked_at))
        for each in looked_at:
            if each.verification is not None and each.verification.picture is not None:
                with suppress(DamagedError):  # for the loss of a picture no room is kept occupied
                    self.marking.mark([bytes.fromhex(each.verification.picture)])

    def _vain_share(self, name: str) -> float:
        if self._newest is None:
            self._newest = NewestNeeds(self.records, self._cut, self.state)
        return self._newest.vain_share(self.numbers[name]) if name in self.numbers else 0.0

    def _uses(self) -> Iterator[PackUse]:
        """Every pack that is there, or listed, and not condemned. What is not both is of no use to any point."""
        packs, condemned = self.records.index.packs, self.state.condemned
        damaged = {name for name, _ in self.state.damaged}
        for name, size in self.stored.items():
            if name not in condemned:
                number = self.numbers.get(name)
                live = 0 if number is None else _live_bytes(packs[number], self.marking.marks.of(number))
                yield PackUse(name=name, size_bytes=size, live_bytes=live, is_damaged=name in damaged)
        for name in self.gone - condemned.keys():
            yield PackUse(name=name, size_bytes=0, live_bytes=0, is_damaged=True)

    def _load_index(self) -> None:
        """Take in index objects that have appeared. What a damaged one lists counts as not listed."""
        vanished: set[str] = set()
        while not vanished >= (missing := self._missing_after_load()):
            vanished |= missing  # replaced by others, which the listing may not have shown: look again
        self._number_packs()

    def _missing_after_load(self) -> set[str]:
        """Read index objects that are new. Returns those that were listed and could not be found any more."""
        missing: set[str] = set()
        self.records.index.take(self._read_listings(missing))
        return missing

    def _read_listings(self, missing: set[str]) -> Iterator[Listing]:
        for name, size in [each for each in self._storage.list("index/") if each.name not in self.index_objects]:
            try:
                listing = decode_index_object(self._keys, self._storage.get(name), name)
            except ObjectMissingError:
                missing.add(name)
                continue
            except (DamagedError, StorageError):
                listing = Listing(name, 0, [])
            self.index_objects[name] = IndexObject(size, tuple(pack.name for pack in listing.packs))
            yield listing

    def _look_into(self, names: Collection[str]) -> None:
        for name in (self.stored.keys() & set(names)) - self.numbers.keys():
            stored = Stored(object_of(name), self.stored[name])
            with suppress(HoldfastError):
                self.records.index.add([pack_from_storage(self._storage, self._keys, stored)])
        self._number_packs()

    def _number_packs(self) -> None:
        for number in range(len(self.numbers), len(self.records.index.packs)):
            self.numbers[self.records.index.packs[number].name] = number

    def _list_packs(self) -> None:
        listed = self._storage.list("packs/")
        self.stored = {name: size for path, size in listed if (name := pack_name(path))}

    def _drop_lost(self) -> None:
        """What a pack held that is not there, or not whole, has to be found elsewhere."""
        packs = self.records.index.packs
        self.gone = frozenset(pack.name for pack in packs if pack.name not in self.stored)
        self.records.index.drop([pack.name for pack in packs if self.stored.get(pack.name) != pack.size])


def roots_of(points: Iterable[RestorePoint]) -> list[bytes]:
    """The roots of everything that points need."""
    roots: dict[str, None] = {}
    for point in points:
        for root in (*(disk.root for disk in point.disks), point.definition.xml, point.definition.nvram):
            if root:
                roots[root] = None
    return [bytes.fromhex(root) for root in roots]


def _live_bytes(pack: Pack, marked: NDArray[np.bool_]) -> int:
    """About how many bytes of a pack hold marked segments: all, none, or their share of each record, never none."""
    if marked.all() or not marked.any():
        return pack.size if marked.any() else 0
    table = pack.table
    plain = np.concatenate(([0], np.cumsum(np.where(marked, table.sizes, 0), dtype=np.int64)))
    live = plain[table.firsts[1:]] - plain[table.firsts[:-1]]
    packed = table.records["packed"].astype(np.float64)
    share = float((packed * live / np.maximum(1, table.records["plain"])).sum() / packed.sum())
    return max(1, int(pack.size * share))
