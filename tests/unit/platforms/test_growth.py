"""A disk that grew lists what it grew by: its bitmap knows nothing of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.extents import Extent, normalise
from holdfast.platforms.nbd.disk import with_growth


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ([], [(100, 150)]),
        ([(0, 10)], [(0, 10), (100, 150)]),
        ([(90, 100)], [(90, 150)]),
        ([(90, 120), (130, 140)], [(90, 150)]),
        ([(120, 130)], [(100, 150)]),
    ],
)
def test_what_it_grew_by_counts_as_changed(dirty: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    assert list(with_growth(iter([Extent(*extent) for extent in dirty]), 100, 150)) == expected


@given(
    dirty=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted)),
    before=st.integers(0, 200),
    size=st.just(200),
)
def test_it_is_the_union_in_normal_form(dirty: list[list[int]], before: int, size: int) -> None:
    extents = normalise(Extent(start, end) for start, end in dirty)
    assert list(with_growth(iter(extents), before, size)) == normalise([*extents, Extent(before, size)])
