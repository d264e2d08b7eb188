"""Cutting: where the segments of a 4 MiB region begin and end, chosen by content at multiples of one 4 KiB block.

The rule, which is the format's: going through a region's blocks in order, a segment begins at the first block that is
not zero. It ends after block b if

- it is then `maximum_blocks` long, or
- b is a *candidate* and it is then at least `minimum_blocks` long, or
- block b + 1 is zero, or b is the region's last block.

So whether a cut lies after b depends only on the blocks from the segment's begin to b and on whether b + 1 is zero: a
change can move cuts only until the next old boundary that the new cut also finds. That is what `recut` rests on.

A block is a candidate by a keyed fingerprint: with its 512 little-endian 64-bit words w, secret odd multipliers m, and
secret salt and odd o, all modulo 2^64, f = sum(w[i] * m[i]), candidate if the top `boundary_bits` bits of
(f xor salt) * o are zero. Without the key the lengths of segments do not tell a known file.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.repository.config import Cut

Words = NDArray[np.uint64]
_WORD_BYTES: Final = 8
_WORD_BITS: Final = 64


class Piece(NamedTuple):
    """A segment's place in its region, in blocks; `id` is empty until its bytes have been hashed."""

    start: int
    blocks: int
    id: bytes = b""

    @property
    def end(self) -> int:
        """The block after the last."""
        return self.start + self.blocks


class Cutter:
    """The cutting rule of one repository. Immutable; any number of threads may share it."""

    def __init__(self, key: bytes, cut: Cut) -> None:
        self.block_bytes = cut.block_bytes
        self.region_blocks = cut.region_bytes // cut.block_bytes
        self._minimum = cut.minimum_blocks
        self._maximum = cut.maximum_blocks
        self._shift = np.uint64(_WORD_BITS - cut.boundary_bits)
        words = cut.block_bytes // _WORD_BYTES
        stream = np.frombuffer(blake3(b"holdfast cut 1", key=key).digest(length=(words + 2) * _WORD_BYTES), "<u8")
        self._multipliers = (stream[:words] | np.uint64(1)).astype(np.uint64)
        self._salt = np.uint64(stream[words])
        self._odd = np.uint64(stream[words + 1] | np.uint64(1))

    def words(self, buffer: memoryview) -> Words:
        """A region's buffer as (blocks, words per block), without a copy."""
        return np.frombuffer(buffer, "<u8").reshape(-1, self.block_bytes // _WORD_BYTES)

    def cut(self, words: Words) -> list[Piece]:
        """The pieces of a whole region, or of a run of blocks that begins at a boundary, in order."""
        live, candidates = self._judge(words)
        pieces: list[Piece] = []
        for start, end in _runs(live):
            first, last = np.searchsorted(candidates, (start, end - 1))
            self._cut_run(start, end, candidates[first:last].tolist(), pieces)
        return pieces

    def recut(
        self,
        old: Sequence[Piece],
        changed: Sequence[tuple[int, int]],
        words: Words,
        load: Callable[[int, int], None],
    ) -> list[Piece]:
        """The pieces of a region after edits, looking only at what the edits can have moved.

        `old` are the region's pieces before, `changed` the ascending block ranges (begin, end) that may differ,
        `load(begin, end)` puts those blocks' present content into `words`. Pieces that `old` holds and no edit reaches
        come back as they are, with their ids. For any edits, equal to `cut` of the whole region.
        """
        return _Recut(self, old, changed, words, load).run()

    def ends_by_itself(self, piece: Piece, words: Words) -> bool:
        """Whether the piece ends where it does whatever follows it: by length, or at a candidate."""
        if piece.blocks == self._maximum:
            return True
        last = self._judge(words[piece.end - 1 : piece.end])[1]
        return piece.blocks >= self._minimum and len(last) > 0

    def _judge(self, words: Words) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """(which blocks are not zero, ascending numbers of the candidates)."""
        prints = np.einsum("ij,j->i", words, self._multipliers)
        live = prints != 0
        suspects = np.flatnonzero(~live)
        live[suspects] = words[suspects].any(axis=1)
        return live, np.flatnonzero((prints ^ self._salt) * self._odd >> self._shift == 0)

    def _cut_run(self, start: int, end: int, candidates: list[int], pieces: list[Piece]) -> None:
        """Cut one run of blocks that are not zero."""
        for cut in candidates:
            stop = cut + 1
            while stop - start > self._maximum:
                pieces.append(Piece(start, self._maximum))
                start += self._maximum
            if stop - start >= self._minimum:
                pieces.append(Piece(start, stop - start))
                start = stop
        while end - start > self._maximum:
            pieces.append(Piece(start, self._maximum))
            start += self._maximum
        if end > start:
            pieces.append(Piece(start, end - start))


class _Recut:
    """One run of `Cutter.recut`."""

    def __init__(
        self,
        cutter: Cutter,
        old: Sequence[Piece],
        changed: Sequence[tuple[int, int]],
        words: Words,
        load: Callable[[int, int], None],
    ) -> None:
        self._cutter = cutter
        self._old = old
        self._starts = [piece.start for piece in old]
        self._changed = list(changed)
        self._words = words
        self._load = load

    def run(self) -> list[Piece]:
        pieces: list[Piece] = []
        kept = 0  # old pieces before this one are dealt with
        at = 0  # the next change to deal with
        while at < len(self._changed):
            first = self._first_touched(self._changed[at][0], kept)
            pieces += self._old[kept:first]
            begin = self._changed[at][0]
            if first < len(self._old):
                begin = min(begin, self._old[first].start)
            end, at, window = self._window(begin, at)
            pieces += window
            kept = bisect_left(self._starts, end, lo=first)
        return pieces + list(self._old[kept:])

    def _first_touched(self, block: int, low: int) -> int:
        """The first old piece that a change from `block` on can alter.

        A piece that ends right before `block` is one of them unless another piece begins there: it may have ended only
        because `block` was zero.
        """
        index = bisect_left(self._starts, block, lo=low)
        begins_here = index < len(self._old) and self._starts[index] == block
        if index > low and not begins_here and self._old[index - 1].end >= block:
            return index - 1
        return index

    def _window(self, begin: int, at: int) -> tuple[int, int, list[Piece]]:
        """Cut from `begin` until a new boundary meets an old one: (end of the window, next change, its pieces)."""
        loaded = begin
        end = self._changed[at][1]
        at += 1
        while True:
            while at < len(self._changed) and self._changed[at][0] <= end:
                end = max(end, self._changed[at][1])
                at += 1
            end = self._whole_pieces(end)
            if at < len(self._changed) and self._changed[at][0] <= end:
                continue
            self._load(loaded, end)
            loaded = end
            window = [piece._replace(start=begin + piece.start) for piece in self._cutter.cut(self._words[begin:end])]
            following = bisect_left(self._starts, end)
            if following == len(self._old) or self._starts[following] != end:
                return end, at, window  # a zero block or the region's end follows: a boundary for everyone
            if not window or window[-1].end < end or self._cutter.ends_by_itself(window[-1], self._words):
                return end, at, window
            end = self._old[following].end

    def _whole_pieces(self, end: int) -> int:
        """`end`, moved to the end of the old piece it falls into."""
        index = bisect_left(self._starts, end) - 1
        return max(end, self._old[index].end) if index >= 0 else end


def _runs(live: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(begin, end) of each run of True."""
    if live.all():
        return [(0, len(live))] if len(live) else []
    edges = np.flatnonzero(np.diff(np.concatenate(([False], live, [False]))))
    ends: list[int] = edges.tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))
