"""Bytes in pieces, on their way to somebody who takes as many at a time as he likes."""

from collections.abc import Sequence
from typing import Final

MOST_AT_ONCE: Final = 512
"""Pieces for one call: Linux takes up to 1,024 (IOV_MAX, see writev(2)), others fewer."""


def behind(pieces: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left once the first `count` bytes have been taken; no piece of it at the front is empty."""
    for at, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[at + 1 :]]
        count -= len(piece)
    return []
