"""Stretches of a column: what is sorted by pack or by record is worked off one pack, one record at a time."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def equal_stretches(column: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """(first row, row behind the last) of each stretch of equal neighbours; none of an empty column."""
    breaks = np.flatnonzero(column[1:] != column[:-1]) + 1
    return pairwise([0, *breaks.tolist(), len(column)] if len(column) else [])
