"""Where a disk differs from a stored one, found without fetching anything, and made equal by writing just that.

What the disk holds in a segment's place is hashed: it is the stored segment if it has its id. What lies between
segments must be zeros. So a disk is compared about as fast as it can be read and hashed, and where it is known what may
have changed, in a time that follows the change.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import numpy as np
from blake3 import blake3

from holdfast.core.extents import Extent, complement, intersect, normalise, split_by, total_bytes
from holdfast.core.ports import BlockReader, EditableDisk, StandingDisk
from holdfast.core.progress import Progress
from holdfast.mover.fetching import Fetcher, plan_fetches
from holdfast.mover.pool import Shared, run_threads
from holdfast.repository import Layout, ReadRun, Repository, StoredDisk

_REGIONS_AT_ONCE: Final = 1024
"""4 GiB compared, then made equal: few enough for their segments to be kept in mind, enough to read packs in order."""


@dataclass(slots=True, kw_only=True)
class DifferenceOutcome:
    """Bytes of the disk that were read to be compared, bytes that differed, and in how many stretches.

    `read_bytes` came from the repository's packs to be written; none where the disk was only compared.
    """

    compared_bytes: int = 0
    different_bytes: int = 0
    extents: int = 0
    read_bytes: int = 0


def may_differ(
    repository: Repository, stored: StoredDisk, disk: StandingDisk, baseline: str | None
) -> list[Extent] | None:
    """Where a disk may differ from a stored one; None: anywhere.

    `baseline` is the root of the disk that `disk.changes` are relative to: what changed since, and in what the stored
    one differs from it. Raises DamagedError if that cannot be told from the trees any more.
    """
    changes = None if baseline is None else disk.changes()
    if baseline is None or changes is None:
        return None
    return normalise([*changes, *stored.extents_changed_since(repository.open_disk(baseline))])


def compare_disk(
    repository: Repository,
    stored: StoredDisk,
    disk: StandingDisk,
    changed: Iterable[Extent] | None,
    progress: Progress,
) -> DifferenceOutcome:
    """How much of a disk differs from a stored one of the same size.

    `changed`, ascending, is where it may; None: anywhere. Raises what the disk or the repository raises.
    """
    comparison = _Comparison(repository, stored, disk, changed, progress)
    for _ in comparison.windows():
        pass
    return comparison.outcome


def equalise_disk(
    repository: Repository,
    stored: StoredDisk,
    disk: EditableDisk,
    changed: Iterable[Extent] | None,
    progress: Progress,
) -> DifferenceOutcome:
    """Make a disk equal to a stored one of the same size, by writing only the segments that differ.

    Takes and raises the same, and DamagedError naming disk and range if no good copy of a block is left. What was
    written until then is right.
    """
    comparison = _Comparison(repository, stored, disk, changed, progress)
    for window in comparison.windows():
        _write(repository, disk, window, comparison.outcome)
    return comparison.outcome


@dataclass(frozen=True, slots=True)
class _Window:
    """What differs in a part of the disk: segments to be written, and stretches to be zeros."""

    segments: Layout | None
    zeros: Sequence[Extent]


@dataclass(frozen=True, slots=True)
class _Region:
    """A region to compare: what is stored, what the disk may hold there, and where they may differ (None: anywhere)."""

    extent: Extent
    layout: Layout | None
    data: Sequence[Extent]
    changed: Sequence[Extent] | None

    @property
    def matters(self) -> bool:
        """Whether anything is stored there, or may be held."""
        return self.layout is not None or bool(self.data)


class _Comparison:
    """One pass over a disk."""

    def __init__(
        self,
        repository: Repository,
        stored: StoredDisk,
        disk: StandingDisk,
        changed: Iterable[Extent] | None,
        progress: Progress,
    ) -> None:
        assert stored.size_bytes == disk.size_bytes
        self.outcome = DifferenceOutcome()
        self._id_key = repository.keys.data_id_key
        self._block = repository.config.cut.block_bytes
        self._stored = stored
        self._disk = disk
        self._progress = progress
        region_bytes = stored.region_bytes
        whole = Extent(0, disk.size_bytes)
        # Changes and map are read before anything is written: writing alters both.
        known = None if changed is None else list(intersect(normalise(changed), [whole]))
        self._changed = None if known is None else dict(split_by(known, region_bytes))
        self._data = dict(split_by(intersect(disk.data(), [whole]), region_bytes))
        self._total_bytes = disk.size_bytes if known is None else len(self._changed or {}) * region_bytes
        self._done_bytes = 0
        self._gathering = threading.Lock()
        self._segments: list[Layout] = []
        self._zeros: list[Extent] = []

    def windows(self) -> Iterator[_Window]:
        """What differs, a part of the disk at a time; a part is compared when its turn comes."""
        numbers = iter(range(-(-self._disk.size_bytes // self._stored.region_bytes)))
        regions = numbers if self._changed is None else iter(self._changed)
        while window := list(islice(regions, _REGIONS_AT_ONCE)):
            layouts = self._stored.layouts_at(window)
            wanted = [self._region(number, layouts.get(number)) for number in window]
            run_threads("compare", Shared(region for region in wanted if region.matters), self._work_off)
            self._done_bytes += len(window) * self._stored.region_bytes
            self._progress.advance(min(self._done_bytes, self._total_bytes), self._total_bytes)
            if self._segments or self._zeros:
                yield self._gathered()

    def _region(self, number: int, layout: Layout | None) -> _Region:
        extent = self._stored.region(number)
        changed = None if self._changed is None else self._changed[number]
        return _Region(extent, layout, self._data.get(number, ()), changed)

    def _gathered(self) -> _Window:
        """What the threads found, taken from them."""
        segments = Layout.joined(self._segments) if self._segments else None
        zeros = normalise(self._zeros)
        self._segments, self._zeros = [], []
        different = normalise([*(() if segments is None else segments.extents()), *zeros])
        self.outcome.different_bytes += total_bytes(different)
        self.outcome.extents += len(different)
        return _Window(segments, zeros)

    def _work_off(self, shared: Shared[_Region]) -> None:
        """What each thread does."""
        buffer = memoryview(bytearray(self._stored.region_bytes))
        with closing(self._disk.open_reader()) as reader:
            for region in shared:
                rows, looked_at = _looked_at(region)
                read_bytes = _fill(buffer, region, looked_at, reader)
                segments = self._other_segments(buffer, region, rows)
                zeros = list(self._not_zero(buffer, region, looked_at))
                with self._gathering:
                    self.outcome.compared_bytes += read_bytes
                    self._segments += segments
                    self._zeros += zeros

    def _other_segments(self, buffer: memoryview, region: _Region, rows: Sequence[int]) -> list[Layout]:
        """Those of the stored segments that the disk does not hold in their places."""
        layout, base = region.layout, region.extent.start
        if layout is None:
            return []
        ids, starts, lengths = layout.ids.tobytes(), layout.starts.tolist(), layout.lengths.tolist()
        width = layout.ids.shape[1]
        other: list[int] = []
        for row in rows:
            start = starts[row] - base
            end = (
                start + -(-lengths[row] // self._block) * self._block
            )  # the last one of a disk is filled up with zeros
            if blake3(buffer[start:end], key=self._id_key).digest() != ids[row * width : (row + 1) * width]:
                other.append(row)
        return [layout.only(np.array(other, np.intp))] if other else []

    def _not_zero(self, buffer: memoryview, region: _Region, looked_at: Sequence[Extent]) -> Iterator[Extent]:
        """Blocks between the stored segments that are not zeros, which they should be."""
        stored = [] if region.layout is None else region.layout.extents()
        base = region.extent.start
        gaps = intersect(looked_at, list(complement(stored, region.extent)))
        for start, end in intersect(list(gaps), region.data):
            held = np.frombuffer(buffer[start - base : end - base], np.uint8)
            if held.any():
                for at in range(0, len(held), self._block):
                    if held[at : at + self._block].any():
                        yield Extent(start + at, min(start + at + self._block, end))


def _looked_at(region: _Region) -> tuple[Sequence[int], list[Extent]]:
    """(the segments to compare, the bytes to read for that): those that a change reaches, or all."""
    layout = region.layout
    if region.changed is None:
        return range(0 if layout is None else len(layout.ids)), [region.extent]
    if layout is None:
        return (), list(region.changed)
    ends = layout.starts + layout.lengths
    reached = np.zeros(len(layout.ids), np.bool_)
    for start, end in region.changed:
        reached |= (layout.starts < end) & (ends > start)
    rows = np.flatnonzero(reached)
    return rows.tolist(), normalise([*layout.only(rows).extents(), *region.changed])


def _fill(buffer: memoryview, region: _Region, looked_at: Sequence[Extent], reader: BlockReader) -> int:
    """What the disk holds there, into the buffer, which keeps what it held elsewhere. Returns the bytes read."""
    base, end = region.extent
    wanted = list(intersect(looked_at, region.data))
    for start, stop in chain.from_iterable(complement(wanted, extent) for extent in looked_at):
        buffer[start - base : stop - base] = bytes(stop - start)
    buffer[end - base :] = bytes(base + len(buffer) - end)  # a disk may end within a block
    for start, stop in wanted:
        reader.read_into(start, buffer[start - base : stop - base])
    return total_bytes(wanted)


def _write(repository: Repository, disk: EditableDisk, window: _Window, outcome: DifferenceOutcome) -> None:
    """Bring the segments of a window, and its zeros."""
    counting = threading.Lock()

    def work_off(shared: Shared[ReadRun | Layout | Extent]) -> None:
        fetcher = Fetcher(repository, disk.name)
        with closing(disk.open_editor()) as editor:
            for work in shared:
                if isinstance(work, Extent):
                    editor.zero(work.start, work.length)
                    continue
                for stretch in fetcher.fetch(work):
                    editor.write(stretch.start, *stretch.pieces)
        with counting:
            outcome.read_bytes += fetcher.read_bytes

    fetches = () if window.segments is None else plan_fetches(repository, window.segments)
    work: Iterable[ReadRun | Layout | Extent] = chain(window.zeros, fetches)
    run_threads("mover", Shared(work), work_off)
