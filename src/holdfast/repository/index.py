"""The index: which pack holds which id.

It holds what index objects (index_objects.py) say as sorted runs (runs.py): some thousand entries in memory, the others
in files. It keeps all places of an id; packs that were dropped are never among them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Final, NamedTuple, TypeVar, overload

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.repository.cache import RunFiles
from holdfast.repository.index_objects import Listing
from holdfast.repository.merging import Source, merge, run_of
from holdfast.repository.nodes import ID_BYTES
from holdfast.repository.packs import Pack, pack_name
from holdfast.repository.runs import MAXIMUM_ROWS, BadRunError, Run, Words, as_words
from holdfast.repository.storage.port import Stored

Ids = Sequence[bytes] | NDArray[np.uint8]
"""Ids one by one, or as (n, 32) bytes."""

_T = TypeVar("_T")

Reread = Callable[[Stored], Pack]

MEMORY_ENTRIES: Final = 256 * 1024
"""About 14 MiB; what comes on top goes to a file."""
_LIVE_RUNS: Final = 8
_NAMES_AT_ONCE: Final = 4096
_LISTED_AT_ONCE: Final = 1024
"""Entries that are taken in together: some 64 MiB of plain bytes, which lanes that are at work find from then on."""


class Place(NamedTuple):
    """Where a segment is: the pack's number in the index, and the segment's number in the pack."""

    pack: int
    segment: int


class Index:
    """Places of ids. Reading needs no lock: what changes the runs swaps in a new tuple of them when it is done.

    A pack keeps its number as long as the index lives, also when it is dropped.
    """

    def __init__(
        self, files: RunFiles | None = None, reread: Reread | None = None, *, memory_entries: int = MEMORY_ENTRIES
    ) -> None:
        """`reread` has a pack's table from the pack itself, where a file turns out to be damaged."""
        self.base = 0
        """The last log entry that any writer of the index had read: the log reaches at least this far."""
        self.from_cache = False
        """Whether anything was taken from files of another process."""
        self._dropped: set[str] = set()
        self._unlisted: set[str] = set()
        self._files = files or RunFiles()
        self._reread = reread
        self._memory_entries = memory_entries
        self._merging = True
        self._runs: tuple[Run, ...] = ()
        self._retired: tuple[Run, ...] = ()
        self._sources: set[bytes] = set()
        self._next_number = 0
        self._entries = 0
        self._changing = threading.Lock()

    def open(self, listed: Iterable[str]) -> None:
        """Take in what the cache holds of these index objects, all there are by now. Before anything is added."""
        with self._changing:
            for run in self._files.open({_source(name) for name in listed}):
                self._take_in(run)
                self.from_cache = True

    def add(self, packs: Iterable[Pack]) -> None:
        """Make packs known to this index alone; those that are known already change nothing."""
        with self._changing:
            fresh = self._unknown(list(packs))
            if fresh:
                self._unlisted.update(pack.name for pack in fresh)
                self._take_in(run_of(self._files.repository_id, [Source(_source(""), 0, fresh)]))
                self._arrange()

    def take(self, listings: Iterable[Listing]) -> None:
        """Make known what index objects list; those that are known already change nothing."""
        for some in _groups(listings):
            with self._changing:
                fresh = {_source(each.name): each for each in some}
                sources = [
                    Source(name, each.base, each.packs) for name, each in fresh.items() if name not in self._sources
                ]
                if sources:
                    self._unlisted.difference_update(pack.name for source in sources for pack in source.packs)
                    self._take_in(run_of(self._files.repository_id, sources))
                    self._arrange()

    def save(self) -> None:
        """Keep for other processes, and later ones, what has been added."""
        with self._changing:
            if self._files.lasting:
                self._spill()
                self._arrange()

    def start_anew(self) -> None:
        """Take the files for damaged: nothing is known any more, but numbers that were given still name their packs."""
        with self._changing:
            self._files.clear()
            self.from_cache = False
            self._retired += self._runs
            self._runs = ()
            self._sources.clear()

    def drop(self, names: Iterable[str]) -> None:
        """These packs (names in hex) are condemned: nothing in them is ever found again."""
        with self._changing:
            fresh = set(names) - self._dropped
            self._dropped |= fresh
            for some in _batches(fresh):
                words = _name_words(some)
                for run in self._runs:
                    at = run.find_packs(words)
                    run.usable[at[at >= 0]] = False

    def __len__(self) -> int:
        """Entries that were ever added: it grows with each pack."""
        return self._entries

    @property
    def packs(self) -> "Packs":
        """All packs that were ever added, by number, dropped or not."""
        return Packs((*self._runs, *self._retired), self._next_number, self._table_of)

    def knows_source(self, name: str) -> bool:
        """Whether what this index object lists has been added."""
        return _source(name) in self._sources

    def knows_pack(self, name: str) -> bool:
        """Whether the pack of that name has been added, and not dropped."""
        return name not in self._dropped and self.number_of(name) >= 0

    def number_of(self, name: str) -> int:
        """The number of a pack that has been added, dropped or not; -1 for any other."""
        words = _name_words([name])
        for run in self._runs:
            if (at := int(run.find_packs(words)[0])) >= 0:
                return int(run.numbers[at])
        return -1

    def _unknown(self, packs: Sequence[Pack]) -> list[Pack]:
        """Those whose names have no number yet, dropped or not."""
        unknown = np.ones(len(packs), np.bool_)
        words = _name_words(pack.name for pack in packs)
        for run in self._runs:
            unknown &= run.find_packs(words) < 0
        return [packs[at] for at in np.flatnonzero(unknown).tolist()]

    def is_unlisted(self, name: str) -> bool:
        """Whether a pack is known to this index alone: no index object that it has taken in lists it."""
        return name in self._unlisted

    def places(self, ids: Ids) -> NDArray[np.int64]:
        """(n, 2) of pack and segment numbers, one place per id, the newest; -1 where an id has none."""
        words = _id_words(ids)
        found = np.full((len(words), 2), -1, np.int64)
        missing = np.argsort(words[:, 0])  # neighbours in the question are then neighbours in memory
        for run in reversed(self._runs):
            for asked, packs, segments in run.matches(words[missing]):
                found[missing[asked], 0] = run.numbers[packs]
                found[missing[asked], 1] = segments
            missing = missing[found[missing, 0] < 0]
            if not len(missing):
                break
        return found

    def copies(self, wanted: bytes) -> list[Place]:
        """Every place of one id."""
        words = _id_words([wanted])
        return [
            Place(int(run.numbers[pack]), int(segment))
            for run in self._runs
            for _, packs, segments in run.matches(words)
            for pack, segment in zip(packs, segments, strict=True)
        ]

    def missing_from(self, stored: Iterable[tuple[str, int]]) -> list[Pack]:
        """The packs that are not among these objects (name, size), which are listed after this is called."""
        runs = self._runs
        unseen = [run.usable.copy() for run in runs]
        for some in _batches((name, size) for path, size in stored if (name := pack_name(path))):
            words = _name_words(name for name, _ in some)
            sizes = np.array([size for _, size in some], np.uint64)
            for run, left in zip(runs, unseen, strict=True):
                at = run.find_packs(words)
                known = np.flatnonzero(at >= 0)
                whole = run.packs["size"][at[known]] == sizes[known]
                left[at[known[whole]]] = False
        return [
            self._table_of(run, at)
            for run, left in zip(runs, unseen, strict=True)
            for at in np.flatnonzero(left & run.usable).tolist()
        ]

    def _table_of(self, run: Run, at: int) -> Pack:
        """A pack with its table, from the pack itself if the file is damaged."""
        try:
            return run.pack(at)
        except BadRunError:
            self._files.remove([run])  # whoever comes next makes it anew
            if self._reread is None:
                raise
            return self._reread(run.stored(at))

    def _take_in(self, run: Run) -> None:
        """Number the packs that are not known yet, and use them if they are not condemned."""
        counting = ~run.void[run.packs["source"]]
        _, first = np.unique(run.names[counting], axis=0, return_index=True)
        fresh = np.zeros(len(run.packs), np.bool_)
        fresh[np.flatnonzero(counting)[first]] = True
        for older in self._runs:
            fresh &= older.find_packs(run.names) < 0
        run.numbers = np.full(len(run.packs), -1, np.int64)
        run.numbers[fresh] = np.arange(self._next_number, self._next_number + np.count_nonzero(fresh))
        self._next_number += int(np.count_nonzero(fresh))
        run.usable[:] = fresh
        if self._dropped:
            run.usable[[name.tobytes().hex() in self._dropped for name in run.packs["name"]]] = False
        self._entries += int(run.packs["segments"][run.usable].sum(dtype=np.int64))
        listed = run.sources[~run.void]
        self._sources.update(name.tobytes() for name in listed["name"])
        self.base = max([self.base, *listed["base"].tolist()])
        self._runs = (*self._runs, run)

    def _arrange(self) -> None:
        """Few enough runs for quick look-ups, few enough entries in memory."""
        if sum(len(run) for run in self._runs if run.in_memory) > self._memory_entries:
            self._spill()
        sizes = [len(run) for run in self._runs]
        self._merge_from(plan_merge(sizes))

    def _spill(self) -> None:
        """Move what is in memory, always the last runs, to a file."""
        first = next((at for at, run in enumerate(self._runs) if run.in_memory), None)
        if first is not None:
            self._replace(first, self._files.keep(partial(merge, self._runs[first:], self._files.repository_id)))

    def _merge_from(self, first: int) -> None:
        """Merge the runs from this one on, in memory if they are."""
        parts = self._runs[first:]
        if len(parts) > 1 and self._merging:
            write = partial(merge, parts, self._files.repository_id)
            if parts[0].in_memory:
                out = BytesIO()
                write(out)
                self._replace(first, Run(out.getbuffer(), self._files.repository_id))
            else:
                merged = self._files.keep(write)
                self._merging = merged is not None  # else there is no room, or a file is damaged: not again and again
                self._replace(first, merged)

    def _replace(self, first: int, merged: Run | None) -> None:
        """Use one run in place of those from `first` on. Without room for it, these stay."""
        if merged is None:
            return
        parts = self._runs[first:]
        merged.numbers = np.concatenate([run.numbers[run.kept] for run in parts])
        merged.usable = np.concatenate([run.usable[run.kept] for run in parts])
        self._runs = (*self._runs[:first], merged)
        if merged.file is not None or not self._files.lasting:
            self._files.remove(run for run in parts if run.file != merged.file)


class Packs(Sequence[Pack]):
    """The packs of an index, each with its table, which is looked up when it is asked for."""

    def __init__(self, runs: Sequence[Run], count: int, look_up: Callable[[Run, int], Pack]) -> None:
        self._runs = runs
        self._count = count
        self._look_up = look_up

    @overload
    def __getitem__(self, number: int) -> Pack: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Pack]: ...

    def __getitem__(self, number: int | slice) -> Pack | Sequence[Pack]:
        if isinstance(number, slice):
            return [self[each] for each in range(self._count)[number]]
        for run in self._runs:
            if (at := run.find_number(number)) >= 0:
                return self._look_up(run, at)
        raise IndexError(number)

    def __len__(self) -> int:
        return self._count


def plan_merge(sizes: Sequence[int]) -> int:
    """Which runs to merge, given the entries of each, oldest first: those from this number on; none if few are live.

    The first is the largest that is no larger than all after it, so that an entry is moved a few times in all.
    """
    if len(sizes) <= _LIVE_RUNS:
        return len(sizes)
    rest = sum(sizes)
    fitting = []
    for at, size in enumerate(sizes[:-1]):
        if rest < MAXIMUM_ROWS:
            fitting.append(at)
            if size <= rest - size:
                return at
        rest -= size
    return fitting[-1] if fitting else len(sizes)


def _groups(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    """Many small ones go into one run: each run that is taken in is merged with others later."""
    some: list[Listing] = []
    size = 0
    for listing in listings:
        some.append(listing)
        size += sum(len(pack.table.ids) for pack in listing.packs)
        if size >= _LISTED_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    waiting = iter(items)
    while some := list(islice(waiting, _NAMES_AT_ONCE)):
        yield some


def _source(name: str) -> bytes:
    """What a run calls an index object."""
    return blake3(name.encode()).digest()


def _id_words(ids: Ids) -> Words:
    if isinstance(ids, np.ndarray):
        return as_words(ids)
    return as_words(np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES))


def _name_words(names: Iterable[str]) -> Words:
    return as_words(np.frombuffer(bytes.fromhex("".join(names)), np.uint8).reshape(-1, ID_BYTES))
