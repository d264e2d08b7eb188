"""Extents: half-open byte ranges of a disk, and the set arithmetic on ascending lists of them.

Every function takes and returns extents in ascending order that neither overlap nor touch ("normal form"), except
`normalise`, which makes that form from anything.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Extent(NamedTuple):
    """The bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes covered."""
        return self.end - self.start

    def lies_in(self, other: "Extent") -> bool:
        """Whether all of it does."""
        return other.start <= self.start and self.end <= other.end


def normalise(extents: Iterable[Extent]) -> list[Extent]:
    """Sort, drop the empty, and join what overlaps or touches."""
    joined: list[Extent] = []
    for start, end in sorted(extents):
        if start >= end:
            continue
        if joined and start <= joined[-1].end:
            joined[-1] = Extent(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(Extent(start, end))
    return joined


def total_bytes(extents: Iterable[Extent]) -> int:
    """Sum of the lengths."""
    return sum(end - start for start, end in extents)


def intersect(left: Iterable[Extent], right: Iterable[Extent]) -> Iterator[Extent]:
    """The bytes that lie in both."""
    lefts, rights = iter(left), iter(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None and b is not None:
        start, end = max(a.start, b.start), min(a.end, b.end)
        if start < end:
            yield Extent(start, end)
        if a.end <= b.end:
            a = next(lefts, None)
        else:
            b = next(rights, None)


def complement(extents: Iterable[Extent], within: Extent) -> Iterator[Extent]:
    """The bytes of `within` that lie in none of the extents."""
    at = within.start
    for start, end in intersect(extents, [within]):
        if at < start:
            yield Extent(at, start)
        at = end
    if at < within.end:
        yield Extent(at, within.end)


def align_outward(extents: Iterable[Extent], step: int, limit: int) -> list[Extent]:
    """Widen each extent to multiples of `step` bytes, but not past `limit`, and join what then touches."""
    return normalise(
        Extent(start // step * step, min(-(-end // step) * step, limit)) for start, end in extents if start < limit
    )


def split_by(extents: Iterable[Extent], step: int) -> Iterator[tuple[int, list[Extent]]]:
    """Group by windows of `step` bytes: (window number, the pieces inside it), ascending, empty windows left out."""
    number, pieces = -1, list[Extent]()
    for start, end in extents:
        at = start
        while at < end:
            window = at // step
            stop = min(end, (window + 1) * step)
            if window != number:
                if pieces:
                    yield number, pieces
                number, pieces = window, []
            pieces.append(Extent(at, stop))
            at = stop
    if pieces:
        yield number, pieces
