"""A stored disk as a block device: any bytes in any order, for as long as it is asked, in bounded memory.

A small read costs one record at most, however many points and packs there are: regions keep the places of their
segments, and the records keep what was opened last. Of a large one, what fills whole records is read in runs, which
keep nothing. Nothing is read ahead.

    maps of regions that are kept   64 MiB a disk: about 12,000 regions, 45 GiB of a full disk
    records that are kept           64 MiB of plain bytes, for all disks of the repository together
    runs                            9 MiB each, 4 of them a disk once as many large reads met
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.extents import Extent
from holdfast.repository.disk import StoredDisk
from holdfast.repository.packs import Pack
from holdfast.repository.reading import Layout, RunReader, plan_whole_records
from holdfast.repository.records import Records

KEPT_RECORD_BYTES: Final = 64 * 1024 * 1024
_KEPT_REGION_BYTES: Final = 64 * 1024 * 1024
_SEGMENT_COST: Final = 72
_REGION_COST: Final = 1024
_KEPT_PACKS: Final = 1024
_LARGE_BYTES: Final = 1024 * 1024
"""Programs that seek ask for less."""
_RUN_READERS: Final = 4


class BlockDevice:
    """One disk, read-only. Safe to use from many threads."""

    def __init__(self, disk: StoredDisk, records: Records, id_key: bytes, catch_up: Callable[[], object]) -> None:
        """`catch_up` learns what has been decided meanwhile: collections and new keys move what a disk is made of."""
        self._disk = disk
        self._records = records
        self._id_key = id_key
        self._catch_up = catch_up
        self._regions: OrderedDict[int, _Region] = OrderedDict()
        self._regions_cost = 0
        self._packs: OrderedDict[int, Pack] = OrderedDict()
        self._keeping = threading.Lock()
        self._run_readers: SimpleQueue[RunReader] = SimpleQueue()
        for _ in range(_RUN_READERS):
            self._run_readers.put(RunReader(records, id_key))  # memory is taken by the first run

    @property
    def size_bytes(self) -> int:
        """Exact size."""
        return self._disk.size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` on. Raises BlockMissingError, DamagedError."""
        step = self._disk.region_bytes
        end = offset + len(buffer)
        for number in range(offset // step, -(-end // step)):
            start, stop = max(offset, number * step), min(end, (number + 1) * step)
            self._read_region(number, start, buffer[start - offset : stop - offset])

    def data(self, start: int, end: int) -> Iterator[Extent]:
        """Where the disk holds data between two bytes, in normal form; everything else is zeros."""
        step = self._disk.region_bytes
        before: Extent | None = None
        for number, leaf in self._disk.leaves_at(list(range(start // step, -(-end // step)))):
            for held in self._region(number).extents() if leaf else ():
                extent = Extent(max(held.start, start), min(held.end, end))
                if extent.length <= 0:
                    continue
                if before and before.end == extent.start:
                    extent = Extent(before.start, extent.end)
                elif before:
                    yield before
                before = extent
        if before:
            yield before

    def _read_region(self, number: int, offset: int, buffer: memoryview) -> None:
        region = self._region(number)
        end, at = offset + len(buffer), offset
        rows = region.rows_between(offset, end)
        brought = self._read_runs(region, rows, offset, buffer) if len(buffer) >= _LARGE_BYTES else set()
        for row in rows:
            held = region.extent(row)
            start, stop = max(held.start, offset), min(held.end, end)
            buffer[at - offset : start - offset] = bytes(start - at)
            if held.start not in brought:
                plain = self._segment(region, row)
                buffer[start - offset : stop - offset] = plain[start - held.start : stop - held.start]
            at = stop
        buffer[at - offset :] = bytes(end - at)

    def _read_runs(self, region: "_Region", rows: range, offset: int, buffer: memoryview) -> set[int]:
        """Fill in what few large reads can bring. Returns where the segments begin that they brought."""
        brought, wanted = set[int](), Extent(offset, offset + len(buffer))
        with suppress(Empty, HoldfastError), self._run_reader() as reader:
            inside = np.array([row for row in rows if region.extent(row).lies_in(wanted)], np.intp)
            places = region.places(self._records)[inside]
            for run in plan_whole_records(self._pack, places, region.layout.only(inside)):
                damaged: list[int] = []
                for batch in reader.read(run):
                    for start, content in batch.good:
                        buffer[start - offset : start - offset + len(content)] = content
                    damaged += batch.damaged
                brought.update(np.delete(run.layout.starts, damaged).tolist())
        return brought

    @contextmanager
    def _run_reader(self) -> Iterator[RunReader]:
        """One that nobody else uses. Raises Empty."""
        reader = self._run_readers.get_nowait()
        try:
            yield reader
        finally:
            self._run_readers.put(reader)

    def _segment(self, region: "_Region", row: int) -> memoryview:
        """A segment from where it was last; if it is not there any more, from wherever it is."""
        wanted = region.layout.ids[row].tobytes()
        pack, segment = region.places(self._records)[row].tolist()
        if pack >= 0:
            with suppress(HoldfastError):
                return self._records.read_segment(self._pack(pack), segment, wanted, self._id_key)
        region.forget_places()
        with suppress(HoldfastError):
            self._catch_up()
        return memoryview(self._records.read(wanted, self._id_key))

    def _pack(self, number: int) -> Pack:
        pack = self._packs.get(number)
        if pack is None:
            pack = self._records.index.packs[number]
            with self._keeping:
                self._packs[number] = pack
                while len(self._packs) > _KEPT_PACKS:
                    self._packs.popitem(last=False)
        return pack

    def _region(self, number: int) -> "_Region":
        with self._keeping:
            if (region := self._regions.get(number)) is not None:
                self._regions.move_to_end(number)
                return region
        try:
            region = self._load(number)
        except DamagedError:
            with suppress(HoldfastError):
                self._catch_up()
            region = self._load(number)
        with self._keeping:
            if number not in self._regions:
                self._regions[number] = region
                self._regions_cost += region.cost
            while self._regions_cost > _KEPT_REGION_BYTES:
                self._regions_cost -= self._regions.popitem(last=False)[1].cost
        return region

    def _load(self, number: int) -> "_Region":
        ((_, leaf),) = self._disk.leaves_at([number])
        return _Region(self._disk.layout(number, leaf) if leaf else None)


class _Region:
    """The segments of one region, and, once somebody reads them, where they are."""

    def __init__(self, layout: Layout | None) -> None:
        self.layout = layout or Layout(np.empty((0, 32), np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))
        self._places: NDArray[np.int64] | None = None

    @property
    def cost(self) -> int:
        """Bytes of memory, about."""
        return _REGION_COST + _SEGMENT_COST * len(self.layout.ids)

    def rows_between(self, start: int, end: int) -> range:
        """The segments that hold any of these bytes."""
        starts = self.layout.starts
        first = int(starts.searchsorted(start, "right")) - 1
        if first < 0 or self.extent(first).end <= start:
            first += 1
        return range(first, int(starts.searchsorted(end)))

    def extent(self, row: int) -> Extent:
        """The bytes of the disk that a segment holds."""
        start = int(self.layout.starts[row])
        return Extent(start, start + int(self.layout.lengths[row]))

    def extents(self) -> Iterator[Extent]:
        """All of them."""
        return map(self.extent, range(len(self.layout.ids)))

    def places(self, records: Records) -> NDArray[np.int64]:
        """(n, 2): pack and segment, -1 where the index knows none."""
        places = self._places
        if places is None:
            places = self._places = records.index.places(self.layout.ids)
        return places

    def forget_places(self) -> None:
        """They are looked up again."""
        self._places = None
