r"""Sorted runs: places of ids as columns, which serve from a mapped file as they do from memory.

    header    80  magic "HFRUN\x00\x00\x01", repository id 16, counts of sources u32, packs u32, records u64,
                  segments u64, BLAKE3-256 of the header before, the sources and the packs
    sources       SOURCE_ROW: index objects whose packs these are
    packs         PACK_ROW: what the index objects say of each, and a digest of its table
    records       RECORD_ROW of all packs, one table after the other
    ids           32 bytes each, likewise
    keys          the first 8 bytes of every id, sorted, in blocks of 64; the last block is filled up with FF
    fence         the first key of each block
    sizes         plain bytes of each segment, in the order of `ids`
    rows          u32, beside each key: which of the `ids` it belongs to

A look-up finds the block in the fence, which stays in the processor's cache, and then touches few pages: the block, the
row, the id.

A run is never trusted further than it is checked: sources and packs by the checksum, a table by its digest when it is
used, and a hit by the whole id that stands in the table. Damage to keys and rows can hide an entry, never invent one.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.packs import DATA, NODES, RECORD_ROW, Pack, PackHeader, PackTable, object_of
from holdfast.repository.storage.port import Bytes, Stored

MAXIMUM_ROWS: Final = 1 << 32
_MAGIC: Final = b"HFRUN\x00\x00\x01"
_HEADER: Final = struct.Struct("<8s16sIIQQ")
_CHECKSUM_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_ID_WORDS: Final = 4
BLOCK: Final = 64
_ASKED_AT_ONCE: Final = 4096
_KEPT_COST: Final = 1 << 20
_PACK_COST: Final = 192
"""Packs that were asked for are asked for again, and what is counted out of their tables need not be counted twice.
In units of 8 bytes, one for each segment and so many for each pack: 8 MiB in all.
"""
SOURCE_ROW: Final = np.dtype([("name", "u1", 32), ("base", "<u8")])
PACK_ROW: Final = np.dtype(
    [
        ("name", "u1", 32),
        ("salt", "u1", 32),
        ("digest", "u1", _DIGEST_BYTES),
        ("size", "<u8"),
        ("epoch", "<u4"),
        ("source", "<u4"),
        ("records", "<u4"),
        ("segments", "<u4"),
        ("type", "u1"),
        ("zeros", "u1", 7),
    ]
)

assert (_HEADER.size + _CHECKSUM_BYTES) % 8 == SOURCE_ROW.itemsize % 8 == PACK_ROW.itemsize % 8 == 0

Words = NDArray[np.uint64]
"""(n, 4): ids or names, as the words that they are compared by."""


class BadRunError(DamagedError):
    """A run, or a table in it, is not what was written."""


class Matches(NamedTuple):
    """Ids that were found: their positions in the question, and the pack (in the run) and segment of each."""

    asked: NDArray[np.int64]
    packs: NDArray[np.int64]
    segments: NDArray[np.int64]


class Run:
    """Packs of some index objects, and where each id lies in them.

    The columns never change, nor does their order say how new a pack is: that is for the order of runs. Beside them
    stands what this process knows: the `file` that holds them, if it has a name; the packs' `numbers`, ascending, -1
    for those that stand elsewhere too or count for nothing; which packs are `usable`; and which sources are `void`, so
    that their packs are left out when the run is merged.
    """

    def __init__(self, buffer: Bytes, repository_id: bytes, file: Path | None = None) -> None:
        columns = Columns(counts_of(buffer, repository_id))
        if len(buffer) != columns.end:
            raise BadRunError("a run has another length than its header says")
        self.sources = np.frombuffer(buffer, SOURCE_ROW, columns.counts.sources, columns.sources)
        self.packs = np.frombuffer(buffer, PACK_ROW, columns.counts.packs, columns.packs)
        self.checksum = bytes(memoryview(buffer)[columns.sources - _CHECKSUM_BYTES : columns.sources])
        if self.checksum != _checksum(buffer, self.sources, self.packs):
            raise BadRunError("a run's list of packs is damaged")
        self.records = np.frombuffer(buffer, RECORD_ROW, columns.counts.records, columns.records)
        ids = np.frombuffer(buffer, np.uint64, columns.counts.segments * _ID_WORDS, columns.ids)
        self.ids: Words = ids.reshape(-1, _ID_WORDS)
        keys = np.frombuffer(buffer, np.uint64, columns.blocks * BLOCK, columns.keys)
        self.keys = keys[: columns.counts.segments]
        self._sorted_keys = _Blocks(keys, np.frombuffer(buffer, np.uint64, columns.blocks, columns.fence))
        self.sizes = np.frombuffer(buffer, np.uint32, columns.counts.segments, columns.sizes)
        self.rows = np.frombuffer(buffer, np.uint32, columns.counts.segments, columns.rows)
        self.first_rows = starts_of(self.packs["segments"])
        self.first_records = starts_of(self.packs["records"])
        if (self.first_rows[-1], self.first_records[-1]) != (len(self.ids), len(self.records)):
            raise BadRunError("a run's tables contradict its list of packs")
        self.file = file
        self.in_memory = True
        self.numbers = np.arange(len(self.packs), dtype=np.int64)
        self.usable = np.ones(len(self.packs), np.bool_)
        self._proved = np.zeros(len(self.packs), np.bool_)
        self.void = np.zeros(len(self.sources), np.bool_)
        self._kept_packs: dict[int, Pack] = {}
        self._kept_cost = 0

    def __len__(self) -> int:
        """Entries that a merge would keep."""
        return int(self.packs["segments"][self.kept].sum(dtype=np.int64))

    @property
    def kept(self) -> NDArray[np.int64]:
        """The packs that a merge keeps."""
        return np.flatnonzero(~self.void[self.packs["source"]])

    def matches(self, ids: Words) -> Iterator[Matches]:
        """Where usable packs hold these ids, in rounds: each gives an id at most one place more."""
        for asked, rows in _equal(self._sorted_keys, self.rows, self.ids, ids):
            packs = self.pack_of(rows)
            usable = self.usable[packs]
            packs = packs[usable]
            yield Matches(asked[usable], packs, rows[usable] - self.first_rows[packs])

    def find_packs(self, names: Words) -> NDArray[np.int64]:
        """The pack of each name that has a number; -1 where the run has none."""
        found = np.full(len(names), -1, np.int64)
        keys, rows = self._names_sorted
        for asked, packs in _equal(keys, rows, self.names, names):
            numbered = self.numbers[packs] >= 0
            found[asked[numbered]] = packs[numbered]
        return found

    def find_number(self, number: int) -> int:
        """The pack of this number; -1 where the run has none."""
        packs, numbers, first, is_dense = self._by_number
        at = number - first if is_dense else int(numbers.searchsorted(number))
        return int(packs[at]) if 0 <= at < len(numbers) and numbers[at] == number else -1

    @cached_property
    def _by_number(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int, bool]:
        """Those packs that have a number, their numbers, the first of these, and whether each is one more."""
        packs = np.flatnonzero(self.numbers >= 0)
        numbers = self.numbers[packs]
        return packs, numbers, int(numbers[0]) if len(numbers) else 0, bool((np.diff(numbers) == 1).all())

    @cached_property
    def names(self) -> Words:
        """The packs' names."""
        return np.ascontiguousarray(self.packs["name"]).view(np.uint64)

    @cached_property
    def _names_sorted(self) -> tuple["_Blocks", NDArray[np.uint32]]:
        order = np.argsort(self.names[:, 0])
        keys = np.concatenate([self.names[order, 0], filling(len(order))])
        return _Blocks(keys, keys[::BLOCK]), order.astype(np.uint32)

    def stored(self, at: int) -> Stored:
        """A pack as the storage lists it."""
        name = self.packs["name"][at].tobytes().hex()
        return Stored(object_of(name), int(self.packs["size"][at]))

    def pack(self, at: int) -> Pack:
        """A pack with its table, which is proved when it is asked for first. Raises BadRunError."""
        if (pack := self._kept_packs.get(at)) is None:
            pack = self._read_pack(at)
            cost = _PACK_COST + len(pack.table.ids)
            if self._kept_cost + cost > _KEPT_COST:
                self._kept_packs.clear()
                self._kept_cost = 0
            self._kept_packs[at] = pack
            self._kept_cost += cost
        return pack

    def _read_pack(self, at: int) -> Pack:
        row = self.packs[at]
        rows = slice(self.first_rows[at], self.first_rows[at + 1])
        records = self.records[self.first_records[at] : self.first_records[at + 1]]
        table = PackTable(records, self.ids[rows].view(np.uint8), self.sizes[rows])
        if not self._proved[at]:
            if digest_of(table) != row["digest"].tobytes():
                raise BadRunError("the table of a pack is damaged")
            self._proved[at] = True
        header = PackHeader(int(row["epoch"]), NODES if row["type"] == NODES else DATA, row["salt"].tobytes())
        return Pack(row["name"].tobytes().hex(), int(row["size"]), header, table)

    def pack_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pack that each row's segment lies in."""
        return np.searchsorted(self.first_rows, rows, "right") - 1


def as_words(ids: NDArray[np.uint8]) -> Words:
    """(n, 32) bytes as the words that they are sorted and compared by."""
    return np.ascontiguousarray(ids).view(np.uint64).reshape(-1, _ID_WORDS)


class Counts(NamedTuple):
    """How many there are of each."""

    sources: int
    packs: int
    records: int
    segments: int


class Columns:
    """Where each column of a run begins."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.sources = _HEADER.size + _CHECKSUM_BYTES
        self.packs = self.sources + counts.sources * SOURCE_ROW.itemsize
        self.records = self.packs + counts.packs * PACK_ROW.itemsize
        self.ids = self.records + counts.records * RECORD_ROW.itemsize
        self.keys = self.ids + counts.segments * 32
        self.blocks = -(-counts.segments // BLOCK)
        self.fence = self.keys + self.blocks * BLOCK * 8
        self.sizes = self.fence + self.blocks * 8
        self.rows = self.sizes + counts.segments * 4
        self.end = self.rows + counts.segments * 4


class _Blocks:
    """Sorted keys in blocks."""

    def __init__(self, keys: NDArray[np.uint64], fence: NDArray[np.uint64]) -> None:
        self.keys = keys
        self._blocks = keys.reshape(-1, BLOCK)
        self._fence = fence

    def first_not_below(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Of each wanted key, how many keys are below it."""
        if not len(self._fence):
            return np.zeros(len(wanted), np.int64)
        block = np.maximum(np.searchsorted(self._fence, wanted) - 1, 0)
        below = np.empty(len(wanted), np.int64)
        for at in range(0, len(wanted), _ASKED_AT_ONCE):
            some = slice(at, at + _ASKED_AT_ONCE)
            blocks, keys = self._blocks[block[some]], wanted[some]
            below[some] = np.where(blocks[:, -1] < keys, BLOCK, (blocks >= keys[:, None]).argmax(axis=1))
        return block * BLOCK + below


def _equal(
    keys: _Blocks, rows: NDArray[np.uint32], table: Words, wanted: Words
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(positions among `wanted`, rows of `table` that equal them), in rounds, one row more for each at a time.

    `keys` are the first words of the rows, and `rows` stand beside them. Equal keys lie side by side.
    """
    asked = np.arange(len(wanted))
    at = keys.first_not_below(wanted[:, 0])
    while True:
        within = at < len(rows)
        asked, at = asked[within], at[within]
        same = keys.keys[at] == wanted[asked, 0]
        asked, at = asked[same], at[same]
        if not len(asked):
            return
        found = np.minimum(rows[at].astype(np.int64), len(table) - 1)  # damaged, it might point behind the end
        whole = (table[found] == wanted[asked]).all(axis=1)
        yield asked[whole], found[whole]
        at = at + 1


def filling(count: int) -> NDArray[np.uint64]:
    """What fills the last block of so many keys."""
    return np.full(-count % BLOCK, np.iinfo(np.uint64).max, np.uint64)


def head_of(repository_id: bytes, counts: Counts, sources: NDArray[np.void], packs: NDArray[np.void]) -> bytes:
    """What stands before the sources."""
    header = _HEADER.pack(_MAGIC, repository_id, *counts)
    return header + _checksum(header, sources, packs)


def counts_of(buffer: Bytes, repository_id: bytes) -> Counts:
    """What a run's header says. Raises BadRunError."""
    if len(buffer) < _HEADER.size + _CHECKSUM_BYTES:
        raise BadRunError("a run is cut off")
    magic, owner, *counts = _HEADER.unpack_from(buffer)
    if (magic, owner) != (_MAGIC, repository_id):
        raise BadRunError("a run is of another repository or version")
    return Counts(*counts)


def _checksum(header: Bytes, sources: NDArray[np.void], packs: NDArray[np.void]) -> bytes:
    hasher = blake3(memoryview(header)[: _HEADER.size])
    for rows in (sources, packs):
        hasher.update(rows.tobytes())
    return hasher.digest()


def digest_of(table: PackTable) -> bytes:
    """What proves a pack's table."""
    hasher = blake3(np.ascontiguousarray(table.records).tobytes())
    hasher.update(table.ids.tobytes())
    hasher.update(table.sizes.astype("<u4").tobytes())
    return hasher.digest()[:_DIGEST_BYTES]


def starts_of(lengths: Sequence[int] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Where each of these begins if they lie end to end, and where the last ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
