"""The arithmetic of extents, against sets of bytes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.extents import Extent, align_outward, complement, intersect, normalise, split_by, total_bytes

LIMIT = 80
numbers = st.integers(0, LIMIT)
any_extents = st.lists(st.builds(Extent, numbers, numbers), max_size=8)
normal = any_extents.map(normalise)


def members(extents: list[Extent]) -> set[int]:
    return {byte for start, end in extents for byte in range(start, end)}


def is_normal(extents: list[Extent]) -> bool:
    return all(start < end for start, end in extents) and all(
        left.end < right.start for left, right in pairwise(extents)
    )


@given(any_extents)
def test_the_normal_form_covers_the_same_bytes_in_order_and_apart(extents: list[Extent]) -> None:
    assert members(normalise(extents)) == members(extents)
    assert is_normal(normalise(extents))
    assert normalise(reversed(normalise(extents))) == normalise(extents)


@given(normal)
def test_the_total_is_the_number_of_bytes(extents: list[Extent]) -> None:
    assert total_bytes(extents) == len(members(extents)) == sum(extent.length for extent in extents)


@given(normal, normal)
def test_an_intersection_has_what_both_have(left: list[Extent], right: list[Extent]) -> None:
    both = list(intersect(left, right))
    assert members(both) == members(left) & members(right)
    assert is_normal(both)


@given(any_extents, st.integers(1, 20), numbers)
def test_aligning_covers_every_touched_step_and_nothing_past_the_limit(
    extents: list[Extent], step: int, limit: int
) -> None:
    touched = {byte // step for byte in members(extents) if byte < limit}
    expected = {byte for number in touched for byte in range(number * step, (number + 1) * step) if byte < limit}
    proper = [extent for extent in extents if extent.start < extent.end]
    assert members(align_outward(proper, step, limit)) == expected
    assert is_normal(align_outward(proper, step, limit))


@given(normal, st.integers(1, 20))
def test_windows_hold_their_own_pieces_in_order_and_none_is_empty(extents: list[Extent], step: int) -> None:
    windows = list(split_by(extents, step))
    assert [number for number, _ in windows] == sorted({byte // step for byte in members(extents)})
    for number, pieces in windows:
        assert is_normal(pieces)
        assert all(number * step <= start < end <= (number + 1) * step for start, end in pieces)
    assert members([piece for _, pieces in windows for piece in pieces]) == members(extents)


@given(normal, numbers, numbers)
def test_the_complement_is_what_is_missing(extents: list[Extent], one: int, other: int) -> None:
    within = Extent(min(one, other), max(one, other))
    missing = list(complement(extents, within))
    assert members(missing) == members([within]) - members(extents)
    assert is_normal(missing)
