"""Rewriting: what points reach of some packs is copied into fresh ones, so that the packs can go.

A record of which everything is reached is sealed anew as it is. Of others the segments that are reached are taken out,
gathered and compressed again. What is copied here is deleted there, so all of it is read back.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from holdfast.core.errors import DamagedError, FullError
from holdfast.repository.collect.at_once import Behind
from holdfast.repository.collect.bulk import read_sealed
from holdfast.repository.collect.listing import put_index_objects
from holdfast.repository.keys import Keys
from holdfast.repository.packing import NODE_RECORD_BYTES, Buffers, PackBuilder
from holdfast.repository.packs import DATA, NODES, Pack, PackType
from holdfast.repository.records import Records
from holdfast.repository.state import PackRecord
from holdfast.repository.storage.ballast import with_ballast

_WINDOW_BYTES: Final = 64 * 1024 * 1024
"""Sealed bytes held in memory to bring records of several packs into another order."""

_PUTS_AT_ONCE: Final = 4
"""At least: while packs are synced and read back from the medium, others are written."""

_KEPT_BALLAST: Final = 32 * 1024 * 1024
"""What of the ballast is for decisions alone. The rest has room for a pack, whose copy makes room for more."""


class ReachedRecord(NamedTuple):
    """A record, and the numbers of those of its segments that are reached, ascending."""

    pack: Pack
    number: int
    segments: Sequence[int]

    @property
    def sealed_bytes(self) -> int:
        """How long it is in its pack."""
        return int(self.pack.table.records[self.number]["packed"])

    @property
    def is_whole(self) -> bool:
        """Whether everything in it is reached."""
        return len(self.segments) == len(self.pack.table.segments_of(self.number))


class Rewriting:
    """One run of it; `packs` are the fresh ones, durable and listed in durable index objects once `copy` returns.

    `damaged` are records that could not be copied: their packs have to stay. `is_full`: there was no room for all of
    it, and nothing of it may be relied on.
    """

    def __init__(self, records: Records, buffers: Buffers, *, base: int, record_bytes: int) -> None:
        self.packs: list[Pack] = []
        self.damaged = set[PackRecord]()
        self.is_full = False
        self.stored_bytes = 0
        self._records = records
        self._base = base
        self._buffers = buffers
        self._puts = Behind(self._put, max(_PUTS_AT_ONCE, records.storage.puts_at_once))
        self._fillings = {
            DATA: _Filling(records.keys, DATA, record_bytes, self._buffers, self._puts.hand_over),
            NODES: _Filling(records.keys, NODES, NODE_RECORD_BYTES, self._buffers, self._puts.hand_over),
        }

    def copy(self, groups: Iterable[Iterable[ReachedRecord]], advance: Callable[[int], None]) -> None:
        """Copy records in this order; those of two groups share none. `advance` is told the sealed bytes behind us."""
        try:
            self._copy_all(groups, advance)
            storage, keys = self._records.storage, self._records.keys
            self.stored_bytes += put_index_objects(storage, keys, self._base, self.packs)
        except FullError:
            self.is_full = True
        self.stored_bytes += sum(pack.size for pack in self.packs)

    def _copy_all(self, groups: Iterable[Iterable[ReachedRecord]], advance: Callable[[int], None]) -> None:
        try:
            done = 0
            for wanted in groups:
                for window in _windows(wanted):
                    self._copy(window)
                    done += sum(record.sealed_bytes for record in window)
                    advance(done)
                for filling in self._fillings.values():
                    filling.add_gathered()
            for filling in self._fillings.values():
                filling.finish()
            self._puts.finish()
        finally:
            self._puts.stop()

    def _copy(self, window: Sequence[ReachedRecord]) -> None:
        for record, sealed in zip(window, self._read(window), strict=True):
            try:
                self._take(record, sealed)
            except DamagedError:
                self.damaged.add((record.pack.name, record.number))

    def _read(self, window: Sequence[ReachedRecord]) -> list[memoryview]:
        """The sealed bytes of each record of a window, read pack by pack."""
        numbers: dict[Pack, set[int]] = defaultdict(set)
        for record in window:
            numbers[record.pack].add(record.number)
        ascending = ((pack, np.array(sorted(mine))) for pack, mine in numbers.items())
        sealed = {
            (pack.name, number): content for pack, number, content in read_sealed(self._records.storage, ascending)
        }
        return [sealed[record.pack.name, record.number] for record in window]

    def _take(self, record: ReachedRecord, sealed: memoryview) -> None:
        """Raises DamagedError."""
        table, filling = record.pack.table, self._fillings[record.pack.header.type]
        segments = [(table.ids[each].tobytes(), int(table.sizes[each])) for each in record.segments]
        if record.is_whole:
            frame = self._records.open_frame(record.pack, record.number, sealed)
            filling.add_whole(frame, segments)
            return
        plain = self._records.open_record(record.pack, record.number, sealed)
        for each, (segment, _) in zip(record.segments, segments, strict=True):
            filling.add_part(segment, bytes(plain[table.slice_of(record.number, each)]))

    def _put(self, filled: PackBuilder) -> None:
        sealed = filled.seal()
        storage = self._records.storage
        put = partial(storage.put, sealed.pack.object, sealed.parts, verify_share=1.0)
        with_ballast(storage, put, keep=_KEPT_BALLAST)
        self.packs.append(sealed.pack)
        self._buffers.give_back(sealed.buffer)


class _Filling:
    """Packs of one type, filled one after the other."""

    def __init__(
        self, keys: Keys, kind: PackType, record_bytes: int, buffers: Buffers, put: Callable[[PackBuilder], None]
    ) -> None:
        self._keys = keys
        self._kind = kind
        self._record_bytes = record_bytes
        self._buffers = buffers
        self._put = put
        self._pack: PackBuilder | None = None
        self._gathered: list[tuple[bytes, bytes]] = []
        self._gathered_bytes = 0

    def add_whole(self, frame: memoryview, segments: Sequence[tuple[bytes, int]]) -> None:
        """A record of its own, compressed already."""
        self._open().add_frame(frame, sum(size for _, size in segments), segments)
        self._close_if_full()

    def add_part(self, segment: bytes, plain: bytes) -> None:
        """A segment that is to share a record with others."""
        if self._gathered_bytes + len(plain) > self._record_bytes:
            self.add_gathered()
        self._gathered.append((segment, plain))
        self._gathered_bytes += len(plain)

    def finish(self) -> None:
        """Nothing more comes, and nothing is gathered."""
        if self._pack is not None:
            self._put(self._pack)
            self._pack = None

    def add_gathered(self) -> None:
        """What was gathered is a record now; nothing that comes later goes into it."""
        if self._gathered:
            segments = [(segment, len(plain)) for segment, plain in self._gathered]
            self._open().add(b"".join(plain for _, plain in self._gathered), segments)
            self._gathered, self._gathered_bytes = [], 0
            self._close_if_full()

    def _open(self) -> PackBuilder:
        if self._pack is None:
            self._pack = PackBuilder(self._keys, self._kind, self._buffers.take(), 1.0)
        return self._pack

    def _close_if_full(self) -> None:
        if self._pack is not None and self._pack.full:
            self._put(self._pack)
            self._pack = None


def _windows(wanted: Iterable[ReachedRecord]) -> Iterator[list[ReachedRecord]]:
    """The records in their order, so many at a time as may be held in memory."""
    window: list[ReachedRecord] = []
    size = 0
    for record in wanted:
        window.append(record)
        size += record.sealed_bytes
        if size >= _WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window
