"""The stretches of a column: together all of it, each of one value, no two neighbours of the same."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.repository.stretches import equal_stretches


@given(st.lists(st.integers(-2, 2), max_size=30))
def test_stretches_are_as_long_as_their_value_lasts(values: list[int]) -> None:
    found = list(equal_stretches(np.array(values, np.int64)))
    assert [row for first, last in found for row in range(first, last)] == list(range(len(values)))
    assert all(len(set(values[first:last])) == 1 for first, last in found)
    assert all(values[first] != values[after] for (first, _), (after, _) in pairwise(found))
