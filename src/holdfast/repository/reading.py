"""Reading many segments at once: few large reads, in the order of the packs, each segment proved by its id.

layout   which segments, and where on a disk each belongs
plan     -> runs: neighbouring records of one pack, read in one go
read     -> batches: proved plain bytes, joined where they are neighbours both in memory and on the disk
"""

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.extents import Extent, normalise
from holdfast.repository.index import Index
from holdfast.repository.packs import MAXIMUM_RECORD_BYTES, Pack
from holdfast.repository.records import Records
from holdfast.repository.stretches import equal_stretches

_JOINED_GAP_BYTES: Final = 128 * 1024
_RUN_BYTES: Final = 4 * 1024 * 1024
LARGEST_RUN_BYTES: Final = _RUN_BYTES + 2 * MAXIMUM_RECORD_BYTES
_BATCH_BYTES: Final = 4 * 1024 * 1024
_ALIGNMENT: Final = 4096
"""Records begin on a page of memory, so that what writes them can let the device fetch them from there."""


class Layout(NamedTuple):
    """Segments and where each belongs: ids (n, 32), first byte on the disk (n), bytes there (n)."""

    ids: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["Layout"]) -> Self:
        """One after the other; at least one."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def extents(self) -> list[Extent]:
        """The bytes of the disk that these segments fill."""
        return normalise(map(Extent, self.starts.tolist(), (self.starts + self.lengths).tolist()))

    def only(self, rows: NDArray[np.intp] | slice) -> "Layout":
        """These rows, in this order."""
        return Layout(self.ids[rows], self.starts[rows], self.lengths[rows])


@dataclass(frozen=True, eq=False, slots=True)
class ReadRun:
    """Neighbouring records of one pack, to be read in one go: bytes `start` to `end` of it.

    `layout` is what is wanted of them, and `segments` its rows' numbers in the pack, ascending.
    """

    pack: Pack
    start: int
    end: int
    segments: NDArray[np.int64]
    layout: Layout

    def by_record(self) -> Iterator[tuple[int, range]]:
        """(record, rows of the layout that it holds), in order."""
        records = np.searchsorted(self.pack.table.firsts, self.segments, "right") - 1
        for first, last in equal_stretches(records):
            yield int(records[first]), range(first, last)

    def wants_all_of(self, record: int, rows: range) -> bool:
        """Whether these rows, all that it holds, are all there is of a record."""
        return len(set(self.segments[rows].tolist())) == len(self.pack.table.segments_of(record))


class Plain(NamedTuple):
    """Plain bytes, and the byte of the disk where they belong."""

    start: int
    content: memoryview


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of reading brought: proved bytes, and the rows of the run that could not be read here."""

    good: Sequence[Plain]
    damaged: Sequence[int]


def plan_reads(index: Index, layout: Layout) -> tuple[list[ReadRun], Layout]:
    """(how to read a layout in few large reads in the order of the packs, what of it has no place)."""
    places = index.places(layout.ids)
    packs = index.packs
    return list(_runs_of_packs(packs.__getitem__, places, layout)), layout.only(np.flatnonzero(places[:, 0] < 0))


def plan_whole_records(pack_of: Callable[[int], Pack], places: NDArray[np.int64], layout: Layout) -> Iterator[ReadRun]:
    """How to read, in few large reads, those records of which nothing is left out: what one brings is not asked again.

    `places` are (pack, segment) of each row of the layout, -1 where there is none.
    """
    for run in _runs_of_packs(pack_of, places, layout):
        wanted = [row for record, rows in run.by_record() if run.wants_all_of(record, rows) for row in rows]
        yield from _runs(run.pack, run.segments[wanted], run.layout.only(np.array(wanted, np.intp)))


def _runs_of_packs(pack_of: Callable[[int], Pack], places: NDArray[np.int64], layout: Layout) -> Iterator[ReadRun]:
    order = np.lexsort((layout.starts, places[:, 1], places[:, 0]))
    known = order[np.searchsorted(places[order, 0], 0) :]
    packs = places[known, 0]
    for first, last in equal_stretches(packs):
        rows = known[first:last]
        yield from _runs(pack_of(int(packs[first])), places[rows, 1], layout.only(rows))


def _runs(pack: Pack, segments: NDArray[np.int64], layout: Layout) -> Iterator[ReadRun]:
    """Join ascending records of a pack into reads, over small gaps, up to a bounded size."""
    records = np.searchsorted(pack.table.firsts, segments, "right") - 1
    wanted, firsts = np.unique(records, return_index=True)
    offsets = pack.table.records["offset"][wanted].astype(np.int64)
    ends = offsets + pack.table.records["packed"][wanted]
    edges = [*_edges(offsets.tolist(), ends.tolist()), len(wanted)]
    bounds = [*firsts.tolist(), len(segments)]
    for first, last in pairwise(edges):
        rows = slice(bounds[first], bounds[last])
        yield ReadRun(pack, int(offsets[first]), int(ends[last - 1]), segments[rows], layout.only(rows))


def _edges(offsets: Sequence[int], ends: Sequence[int]) -> Iterator[int]:
    """Where in a list of ascending records each read begins."""
    start, end = -1, 0
    for at, (offset, after) in enumerate(zip(offsets, ends, strict=True)):
        if start < 0 or offset - end > _JOINED_GAP_BYTES or after - start > _RUN_BYTES:
            yield at
            start = offset
        end = after


class RunReader:
    """Reads runs for one thread, into memory that it uses again and again."""

    def __init__(self, records: Records, id_key: bytes) -> None:
        self._records = records
        self._id_key = id_key
        self._sealed = memoryview(mmap.mmap(-1, LARGEST_RUN_BYTES))
        self._plain = memoryview(mmap.mmap(-1, _BATCH_BYTES))

    def read(self, run: ReadRun) -> Iterator[Batch]:
        """All that is wanted of a run. A batch is good until the next step of the iterator."""
        sealed = self._sealed[: run.end - run.start]
        try:
            self._records.storage.read_into(run.pack.object, run.start, sealed)
        except HoldfastError:
            yield Batch((), range(len(run.segments)))
            return
        gathering = _Gathering(self._plain)
        for number, rows in run.by_record():
            record = run.pack.table.records[number]
            plain_bytes = min(int(record["plain"]), MAXIMUM_RECORD_BYTES + 1)  # so large a one is refused
            if not gathering.has_room(plain_bytes):
                yield gathering.batch()
                gathering = _Gathering(self._plain)
            begin = int(record["offset"]) - run.start
            plain = gathering.take(plain_bytes)
            try:
                self._records.open_record_into(run.pack, number, sealed[begin : begin + int(record["packed"])], plain)
            except DamagedError:
                gathering.damaged += rows
            else:
                self._prove(run, number, rows, plain, gathering)
        yield gathering.batch()

    def _prove(self, run: ReadRun, number: int, rows: range, plain: memoryview, gathering: "_Gathering") -> None:
        """Take over those rows of a record whose bytes are what their ids say."""
        table = run.pack.table
        first = int(table.ends[table.firsts[number]])
        proved = -1
        for row in rows:
            segment = int(run.segments[row])
            at, end = int(table.ends[segment]) - first, int(table.ends[segment + 1]) - first
            if segment != proved and blake3(plain[at:end], key=self._id_key).digest() != run.layout.ids[row].tobytes():
                gathering.damaged.append(row)
                continue
            proved = segment
            gathering.add(int(run.layout.starts[row]), at, min(end - at, int(run.layout.lengths[row])))


class LayoutReader:
    """Reads whole layouts for one thread, each segment from the first copy that is good."""

    def __init__(self, records: Records, id_key: bytes) -> None:
        self._records = records
        self._id_key = id_key
        self._runs = RunReader(records, id_key)

    def read(self, layout: Layout) -> Iterator[Plain]:
        """All of it, in any order; each is good until the next step. Raises BlockMissingError."""
        runs, lost = plan_reads(self._records.index, layout)
        for run in runs:
            damaged: list[int] = []
            for batch in self._runs.read(run):
                yield from batch.good
                damaged += batch.damaged
            yield from self._one_by_one(run.layout.only(np.array(damaged, np.intp)))
        yield from self._one_by_one(lost)

    def _one_by_one(self, layout: Layout) -> Iterator[Plain]:
        for segment, start, length in zip(*layout, strict=True):
            plain = self._records.read(segment.tobytes(), self._id_key)
            yield Plain(int(start), memoryview(plain)[:length])


class _Gathering:
    """A batch as it grows: records lie back to back in its memory, and neighbours on the disk become one."""

    def __init__(self, memory: memoryview) -> None:
        self.damaged: list[int] = []
        self._memory = memory
        self._record = self._used = 0
        self._good: list[tuple[int, int, int]] = []

    def has_room(self, plain_bytes: int) -> bool:
        """Whether a record of this size still goes in."""
        return self._used + plain_bytes <= len(self._memory)

    def take(self, plain_bytes: int) -> memoryview:
        """Memory for one record more."""
        self._record = self._used
        self._used += -(-plain_bytes // _ALIGNMENT) * _ALIGNMENT
        return self._memory[self._record : self._record + plain_bytes]

    def add(self, start: int, at: int, length: int) -> None:
        """Byte `at` of the record taken last and `length` bytes from there belong at byte `start` of the disk."""
        at += self._record
        if self._good:
            before, memory, size = self._good[-1]
            if before + size == start and memory + size == at:
                self._good[-1] = before, memory, size + length
                return
        self._good.append((start, at, length))

    def batch(self) -> Batch:
        """What has been gathered."""
        return Batch([Plain(start, self._memory[at : at + size]) for start, at, size in self._good], self.damaged)
