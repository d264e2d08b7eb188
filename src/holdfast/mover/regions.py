"""One thread's road from a region's bytes to its leaf: read, cut or recut, store, name; and compare, if it is to."""

from collections.abc import Callable, Sequence

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent, intersect, total_bytes
from holdfast.core.ports import BlockReader
from holdfast.mover.streams import RegionWork, Stream
from holdfast.repository import Attempt, Lane, Piece, Repository, encode_leaf


class RegionWorker:
    """Owns one region's worth of memory, a reader for each stream it meets, and nothing shared."""

    def __init__(self, repository: Repository, attempt: Attempt, lane: Lane) -> None:
        cut = repository.config.cut
        self._repository = repository
        self._attempt = attempt
        self._lane = lane
        self._block = cut.block_bytes
        self._region = cut.region_bytes
        self._buffer = memoryview(bytearray(cut.region_bytes))
        self._words = repository.cutter.words(self._buffer)
        self._readers: dict[Stream, BlockReader] = {}

    def close(self) -> None:
        """Give the readers back."""
        for reader in self._readers.values():
            reader.close()

    def process(self, work: RegionWork) -> tuple[bytes | None, int]:
        """(the region's leaf, None if it is all zeros; bytes read from the source)."""
        loader = _Loader(self, work)
        old = self._old_pieces(work)
        read_whole = old is None or work.proving
        pieces = self._cut(work, loader) if read_whole else self._recut(work, old or (), loader.load)
        named = self._lane.store(self._buffer, pieces, work)
        if work.proving and old is not None and not _agrees(named, self._recut(work, old, _loaded_already)):
            work.stream.caught.append(self._extent_of(work))
        leaf = self._attempt.put_node(encode_leaf(named)) if named else None
        return leaf, loader.read_bytes

    def fill(self, work: RegionWork, begin: int, end: int) -> int:
        """Put blocks `begin` to `end` of the region into the buffer; returns the bytes read for it."""
        base = work.region * self._region
        window = Extent(base + begin * self._block, base + end * self._block)
        wanted = list(intersect(work.data, [window]))
        read_bytes = total_bytes(wanted)
        if read_bytes < window.length:
            self._words[begin:end] = 0
        for start, stop in wanted:
            self._reader(work.stream).read_into(start, self._buffer[start - base : stop - base])
        return read_bytes

    def _cut(self, work: RegionWork, loader: "_Loader") -> Sequence[Piece]:
        """All of the region."""
        blocks = self._blocks_in(work)
        loader.load(0, blocks)
        return self._repository.cutter.cut(self._words[:blocks])

    def _old_pieces(self, work: RegionWork) -> Sequence[Piece] | None:
        """What the region held; None if nothing is to be built on that, or if the leaf that says it cannot be read."""
        if work.changed is None or work.stream.parent is None:
            return None
        try:
            return work.stream.parent.pieces(work.old_leaf)
        except DamagedError:
            work.stream.shaken = True
            return None

    def _recut(self, work: RegionWork, old: Sequence[Piece], load: Callable[[int, int], None]) -> Sequence[Piece]:
        """What the changes can have moved; the rest as it was."""
        base = work.region * self._region
        changed = [((start - base) // self._block, (end - base) // self._block) for start, end in work.changed or ()]
        return self._repository.cutter.recut(old, changed, self._words, load)

    def _blocks_in(self, work: RegionWork) -> int:
        return -(-self._extent_of(work).length // self._block)

    def _extent_of(self, work: RegionWork) -> Extent:
        base = work.region * self._region
        return Extent(base, min(base + self._region, work.stream.source.size_bytes))

    def _reader(self, stream: Stream) -> BlockReader:
        if stream not in self._readers:
            self._readers[stream] = stream.source.open_reader()
        return self._readers[stream]


class _Loader:
    """Fills the buffer for one region and counts what that took."""

    def __init__(self, worker: RegionWorker, work: RegionWork) -> None:
        self._worker = worker
        self._work = work
        self.read_bytes = 0

    def load(self, begin: int, end: int) -> None:
        self.read_bytes += self._worker.fill(self._work, begin, end)


def _agrees(found: Sequence[Piece], expected: Sequence[Piece]) -> bool:
    """Whether a region is what the changes to its old pieces make of it; what changed has no id in `expected` yet."""
    if len(found) != len(expected):
        return False
    return all(
        (one.start, one.blocks) == (other.start, other.blocks) and other.id in {b"", one.id}
        for one, other in zip(found, expected, strict=True)
    )


def _loaded_already(_begin: int, _end: int) -> None:
    """The whole region is in the buffer."""
