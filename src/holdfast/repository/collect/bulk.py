"""Reading much of one pack in few large reads, in its own order."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import HoldfastError
from holdfast.repository.packs import Pack
from holdfast.repository.records import Records
from holdfast.repository.storage.port import Storage

_RUN_BYTES: Final = 4 * 1024 * 1024
_JOINED_GAP_BYTES: Final = 128 * 1024
_NOTHING: Final = memoryview(b"")


class SealedRecord(NamedTuple):
    """A record as it lies in its pack; no bytes if they cannot be read."""

    number: int
    sealed: memoryview


class PlainSegment(NamedTuple):
    """A segment, not proved yet; no bytes if its record is damaged. Good until the next one is asked for."""

    segment: int
    plain: memoryview


def read_sealed(storage: Storage, pack: Pack, numbers: NDArray[np.int64]) -> Iterator[SealedRecord]:
    """These records, which ascend."""
    rows = pack.table.records[numbers]
    places = list(zip(numbers.tolist(), rows["offset"].tolist(), rows["packed"].tolist(), strict=True))
    for run in _runs(places):
        start, (_, last, packed) = run[0][1], run[-1]
        sealed = memoryview(bytearray(last + packed - start))
        try:
            storage.read_into(pack.object, start, sealed)
        except HoldfastError:
            sealed = _NOTHING
        for number, offset, packed in run:
            yield SealedRecord(number, sealed[offset - start : offset - start + packed])


def read_segments(records: Records, pack: Pack, segments: NDArray[np.int64]) -> Iterator[PlainSegment]:
    """These segments, which ascend."""
    holders = np.searchsorted(pack.table.firsts, segments, "right") - 1
    for number, sealed in read_sealed(records.storage, pack, np.unique(holders)):
        try:
            plain = records.open_record(pack, number, sealed)
        except HoldfastError:
            plain = _NOTHING
        first, last = np.searchsorted(holders, [number, number + 1])
        for segment in segments[first:last].tolist():
            yield PlainSegment(segment, plain[pack.table.slice_of(number, segment)])


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
