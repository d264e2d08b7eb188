"""Where the bytes of volumes come from: layers of sources, the disks of a point at the bottom.

    volume    vg/root
    Joined      its extents, on two physical volumes
    Part          a partition
    Disk            a disk, read through the parent

A source that only moves bytes can tell the places of its own on the disks, so that whoever has the disks reads them
there, many at a time. One that computes them (decrypts) cannot.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from dissect.util.stream import AlignedStream

from holdfast.filesystems.errors import BrokenError

_BLOCK_BYTES: Final = 128 * 1024
_KEPT_BLOCKS: Final = 256
LARGEST_READ_BYTES: Final = 4 * 1024 * 1024
"""Of a disk, at once."""

ReadDisk = Callable[[int, int, int], bytes]
"""(disk, offset, length) -> that many bytes."""


class Place(NamedTuple):
    """Bytes of a disk, given by its number."""

    disk: int
    offset: int
    length: int


class Source(Protocol):
    """Bytes at offsets."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes, never fewer. Raises BrokenError for what lies outside."""

    def places(self, offset: int, length: int) -> list[Place] | None:
        """Where on the disks they are, in order; None if they are computed. Raises BrokenError."""


class Disk:
    """One disk of the point. Small reads are rounded to blocks, and the last of those are kept."""

    def __init__(self, number: int, size: int, read_disk: ReadDisk) -> None:
        self.number = number
        self.size = size
        self._read_disk = read_disk
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        require_within(self, offset, length)
        first, last = offset // _BLOCK_BYTES, (offset + max(length, 1) - 1) // _BLOCK_BYTES
        if last - first > 4:
            return b"".join(self._directly(offset, length))
        joined = b"".join(self._block(number) for number in range(first, last + 1))
        return joined[offset - first * _BLOCK_BYTES :][:length]

    def places(self, offset: int, length: int) -> list[Place] | None:
        """See Source."""
        require_within(self, offset, length)
        return [Place(self.number, offset, length)]

    def _directly(self, offset: int, length: int) -> Iterator[bytes]:
        for at in range(offset, offset + length, LARGEST_READ_BYTES):
            yield self._read_disk(self.number, at, min(LARGEST_READ_BYTES, offset + length - at))

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            start = number * _BLOCK_BYTES
            block = self._blocks[number] = self._read_disk(self.number, start, min(_BLOCK_BYTES, self.size - start))
            while len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block


class Part:
    """Some of another source, from `start` on."""

    def __init__(self, below: Source, start: int, size: int) -> None:
        require_within(below, start, size)
        self.size = size
        self._below = below
        self._start = start

    def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        require_within(self, offset, length)
        return self._below.read(self._start + offset, length)

    def places(self, offset: int, length: int) -> list[Place] | None:
        """See Source."""
        require_within(self, offset, length)
        return self._below.places(self._start + offset, length)


class _Composed(ABC):
    """A source whose bytes are those of others, piece by piece."""

    def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        return b"".join(part.read(at, size) for part, at, size in self._pieces(offset, length))

    def places(self, offset: int, length: int) -> list[Place] | None:
        """See Source."""
        found: list[Place] = []
        for part, at, size in self._pieces(offset, length):
            places = part.places(at, size)
            if places is None:
                return None
            found += places
        return found

    @abstractmethod
    def _pieces(self, offset: int, length: int) -> Iterator[tuple[Source, int, int]]:
        """(source, offset in it, length) of what makes up these bytes, in order. Raises BrokenError."""


class Joined(_Composed):
    """Sources one after the other."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        self._starts = [0, *accumulate(part.size for part in parts)]

    @property
    def size(self) -> int:
        """See Source."""
        return self._starts[-1]

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[Source, int, int]]:
        require_within(self, offset, length)
        number, end = bisect_right(self._starts, offset) - 1, offset + length
        while offset < end:
            stop = min(end, self._starts[number + 1])
            if stop > offset:
                yield self._parts[number], offset - self._starts[number], stop - offset
            offset, number = stop, number + 1


class Striped(_Composed):
    """Stripes of `stripe` bytes on several sources: `place` tells (which source, which of its stripes) each is."""

    def __init__(
        self, parts: Sequence[Source], stripe: int, stripes: int, place: Callable[[int], tuple[int, int]]
    ) -> None:
        self.size = stripes * stripe
        self._parts = parts
        self._stripe = stripe
        self._place = place

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[Source, int, int]]:
        require_within(self, offset, length)
        end = offset + length
        while offset < end:
            number, within = divmod(offset, self._stripe)
            which, turn = self._place(number)
            size = min(end - offset, self._stripe - within)
            yield self._parts[which], turn * self._stripe + within, size
            offset += size


def in_turns(parts: Sequence[Source], stripe: int) -> Striped:
    """Sources of equal size that take turns, `stripe` bytes each. Raises BrokenError for stripes of no bytes."""
    if stripe <= 0 or not parts:
        raise BrokenError("stripes of no bytes")
    count = len(parts)
    turns = min(part.size for part in parts) // stripe
    return Striped(parts, stripe, turns * count, lambda number: (number % count, number // count))


class Computed:
    """A source whose bytes a function makes, `step` of them at least at a time."""

    def __init__(self, size: int, compute: Callable[[int, int], bytes], step: int = 4096) -> None:
        self.size = size
        self._compute = compute
        self._step = step

    def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        require_within(self, offset, length)
        start = offset // self._step * self._step
        end = min(-(-(offset + length) // self._step) * self._step, self.size)
        made = self._compute(start, end - start)
        if len(made) < offset + length - start:
            raise BrokenError(f"only {len(made)} of {end - start} bytes are there from {start} on")
        return made[offset - start :][:length]

    def places(self, offset: int, length: int) -> list[Place] | None:
        """None."""
        require_within(self, offset, length)
        return None


class SourceFile(AlignedStream):  # type: ignore[misc]  # dissect has no types
    """A source as the file that dissect's parsers want. They expect short reads at the end."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.size, align=4096)
        self._source = source

    def _read(self, offset: int, length: int) -> bytes:
        return self._source.read(offset, min(length, self._source.size - offset))


def require_within(source: Source, offset: int, length: int) -> None:
    """Raise BrokenError unless all these bytes are the source's."""
    if offset < 0 or length < 0 or offset + length > source.size:
        raise BrokenError(f"bytes {offset} to {offset + length} lie outside its {source.size} bytes")
