"""What differs between two points is listed, nothing else is claimed to be alike, and no data are read for it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.extents import Extent, intersect, total_bytes
from holdfast.core.progress import Silence
from holdfast.jobs.compare import compare_points
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository

BLOCK = SMALL_CUT.block_bytes
LONGEST = SMALL_CUT.maximum_blocks * BLOCK
blocks = st.lists(st.sampled_from([b"\0", b"a", b"b", b"c"]), max_size=60)


@settings(deadline=None, max_examples=50)
@given(blocks, blocks)
def test_what_is_listed_is_what_differs_up_to_a_segment(one: list[bytes], other: list[bytes]) -> None:
    before, after = (b"".join(block * BLOCK for block in each) for each in (one, other))
    repository = new_repository(cut=SMALL_CUT)
    points = [back_up_disks(repository, [whole(content)]).point for content in (before, after)]
    (disk,) = compare_points(repository, *points, Silence()).disks
    assert (disk.size_before_bytes, disk.size_after_bytes) == (len(before), len(after))
    assert disk.change == ("same" if before == after else "changed")
    assert disk.changed_bytes == total_bytes(disk.extents)
    for at in range(0, len(after), BLOCK):
        block = Extent(at, at + BLOCK)
        if before[at : at + BLOCK].ljust(BLOCK, b"\0") != after[at : at + BLOCK]:
            assert total_bytes(intersect(disk.extents, [block])) == BLOCK
    for start, end in disk.extents:
        around = slice(max(0, start - LONGEST), end + LONGEST)
        assert before[around] != after[around]


def test_disks_that_came_or_went_are_told() -> None:
    repository = new_repository(cut=SMALL_CUT)
    first = back_up_disks(repository, [whole(b"a" * BLOCK), whole(b"b" * BLOCK, name="vdb")]).point
    second = back_up_disks(repository, [whole(b"a" * BLOCK), whole(b"c" * BLOCK, name="vdc")]).point
    found = {disk.name: disk for disk in compare_points(repository, first, second, Silence()).disks}
    assert {name: disk.change for name, disk in found.items()} == {"vda": "same", "vdb": "removed", "vdc": "added"}
    assert found["vdc"].extents == [Extent(0, BLOCK)]
    assert (found["vdb"].size_after_bytes, found["vdc"].size_before_bytes) == (None, None)
