"""Reading much of many packs in few large reads, in the order of each."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import HoldfastError
from holdfast.repository.packs import Pack
from holdfast.repository.records import Records
from holdfast.repository.storage.port import Storage
from holdfast.repository.storage.side_by_side import read_side_by_side

_RUN_BYTES: Final = 4 * 1024 * 1024
_JOINED_GAP_BYTES: Final = 128 * 1024
_NOTHING: Final = memoryview(b"")


class SealedRecord(NamedTuple):
    """A record as it lies in its pack; no bytes if they cannot be read."""

    pack: Pack
    number: int
    sealed: memoryview


class PlainSegment(NamedTuple):
    """A segment, not proved yet; no bytes if its record is damaged. Good until the next one is asked for."""

    pack: Pack
    segment: int
    plain: memoryview


class _Run(NamedTuple):
    """Records of a pack that are read at once: (number, offset, length) of each, ascending."""

    pack: Pack
    places: Sequence[tuple[int, int, int]]


def read_sealed(storage: Storage, wanted: Iterable[tuple[Pack, NDArray[np.int64]]]) -> Iterator[SealedRecord]:
    """These records of each pack, which ascend. What comes next is read ahead where reads wait for their answers."""

    def read(run: _Run) -> Sequence[SealedRecord]:
        return _read(storage, run)

    runs = (_Run(pack, places) for pack, numbers in wanted for places in _runs(_places(pack, numbers)))
    return chain.from_iterable(read_side_by_side(storage, read, runs))


def read_segments(records: Records, wanted: Iterable[tuple[Pack, NDArray[np.int64]]]) -> Iterator[PlainSegment]:
    """These segments of each pack, which ascend."""
    holders: dict[Pack, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def holding() -> Iterator[tuple[Pack, NDArray[np.int64]]]:
        for pack, segments in wanted:
            numbers = np.searchsorted(pack.table.firsts, segments, "right") - 1
            holders[pack] = segments, numbers
            yield pack, np.unique(numbers)

    for pack, number, sealed in read_sealed(records.storage, holding()):
        try:
            plain = records.open_record(pack, number, sealed)
        except HoldfastError:
            plain = _NOTHING
        segments, numbers = holders[pack]
        first, last = np.searchsorted(numbers, [number, number + 1])
        for segment in segments[first:last].tolist():
            yield PlainSegment(pack, segment, plain[pack.table.slice_of(number, segment)])


def _read(storage: Storage, run: _Run) -> Sequence[SealedRecord]:
    start, (_, last, packed) = run.places[0][1], run.places[-1]
    sealed = memoryview(bytearray(last + packed - start))
    try:
        storage.read_into(run.pack.object, start, sealed)
    except HoldfastError:
        sealed = _NOTHING
    return [
        SealedRecord(run.pack, number, sealed[offset - start : offset - start + packed])
        for number, offset, packed in run.places
    ]


def _places(pack: Pack, numbers: NDArray[np.int64]) -> Iterable[tuple[int, int, int]]:
    rows = pack.table.records[numbers]
    return zip(numbers.tolist(), rows["offset"].tolist(), rows["packed"].tolist(), strict=True)


def _runs(places: Iterable[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Join (number, offset, length) of ascending records into reads, over small gaps, up to a bounded size."""
    run: list[tuple[int, int, int]] = []
    end = 0
    for place in places:
        _, offset, length = place
        if run and (offset - end > _JOINED_GAP_BYTES or offset + length - run[0][1] > _RUN_BYTES):
            yield run
            run = []
        run.append(place)
        end = offset + length
    if run:
        yield run
