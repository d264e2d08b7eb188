"""A disk brought back in place is the point's, whatever happened to it, however it tells that, and wherever it was cut
off; only segments that differed are written; and its own record of changes goes on telling the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.extents import Extent, align_outward, normalise
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import DifferenceOutcome, compare_disk, equalise_disk, may_differ, opening
from tests.property.test_road import LARGEST, REGION, Resize, Trim, Write, captured, content, lengths, places, sizes
from tests.support.disks import EditableModel, Fault, ModelDisk, no_fault
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened

BLOCK = SMALL_CUT.block_bytes
LONGEST = SMALL_CUT.maximum_blocks * BLOCK
Told = Literal["exact", "64k", "lost"]


@dataclass(frozen=True)
class BackUp:
    pass


@dataclass(frozen=True)
class GoBack:
    point: int
    told: Told
    cut_off_after: int  # writes


only = st.just(0)
steps = st.one_of(
    st.builds(Write, only, places, lengths, st.integers(0, 6)),
    st.builds(Write, only, places, lengths, st.integers(0, 6)),
    st.builds(Trim, only, places, lengths),
    st.builds(Resize, only, sizes),
    st.builds(BackUp),
    st.builds(GoBack, st.integers(0, 5), st.sampled_from(["exact", "64k", "lost"]), st.integers(0, 4)),
)


class CutOffError(Exception):
    pass


def cut_off_after(writes: int) -> Fault:
    number = count()

    def fault(_offset: int, _length: int) -> None:
        if next(number) == writes:
            raise CutOffError

    return fault


class World:
    """One disk, and all points of it."""

    def __init__(self, size: int) -> None:
        self.repository = new_repository(cut=SMALL_CUT)
        self.disk = ModelDisk("vda", bytes(size))
        self.history: list[tuple[RestorePoint, bytes]] = []
        self.back_up()

    def take(self, step: Write | Trim | Resize | BackUp | GoBack) -> None:
        match step:
            case Write(_, offset, length, seed):
                self.disk.write(offset, content(seed, length, offset))
            case Trim(_, offset, length):
                self.disk.trim(offset, length)
            case Resize(_, size):
                self.disk.resize(size)
            case BackUp():
                self.back_up()
            case GoBack(number, told, writes):
                self.go_back(*self.history[number % len(self.history)], told, writes)

    def back_up(self) -> None:
        parent = self.history[-1][0] if self.history else None
        outcome = back_up_disks(self.repository, [captured(self.disk, "exact", "allocated")], parent=parent)
        self.history.append((outcome.point, bytes(self.disk.content)))
        self.disk.dirty = []

    def go_back(self, point: RestorePoint, expected: bytes, told: Told, writes: int) -> None:
        if self.disk.size != len(expected):
            self.disk.resize(len(expected))
        foreseen = self.run(point, told, compare_disk)
        try:
            self.run(point, told, equalise_disk, cut_off_after(writes))
        except CutOffError:
            self.run(point, told, equalise_disk)
        else:
            assert foreseen.extents == 0 or foreseen.different_bytes > 0
        assert self.disk.content == expected
        assert self.run(point, told, compare_disk).different_bytes == 0

    def run(self, point: RestorePoint, told: Told, act: object, fault: Fault = no_fault) -> DifferenceOutcome:
        before = bytes(self.disk.content)
        target = EditableModel(self.disk, self.changes(told), fault)
        (wanted,), (newest,) = point.disks, self.history[-1][0].disks
        repository = reopened(self.repository)
        expected = next(content for each, content in self.history if each.id == point.id)
        with opening(repository, wanted) as stored:
            changed = may_differ(repository, stored, target, newest.root)
            assert (changed is None) == (self.changes(told) is None)
            try:
                outcome = act(repository, stored, target, changed, Silence())  # type: ignore[operator]
            finally:
                for start, end in target.written:
                    assert differs(before, expected, start, end), "what was right was written"
        if act is equalise_disk:
            assert sum(end - start for start, end in normalise(target.written)) == outcome.different_bytes
        else:
            assert target.written == []
        return outcome

    def changes(self, told: Told) -> Sequence[Extent] | None:
        if self.disk.dirty is None or told == "lost":
            return None
        return align_outward(self.disk.dirty, 65536 if told == "64k" else 1, self.disk.size)


def differs(before: bytes, expected: bytes, start: int, end: int) -> bool:
    """Whether every stretch as long as the longest segment differs somewhere, from one end of it to the other."""
    at = start
    while at < end:
        stop = min(at + LONGEST, end)
        if before[at:stop] == expected[at:stop]:
            return False
        at = stop
    return True


@settings(deadline=None, max_examples=60)
@given(st.integers(0, LARGEST), st.lists(steps, max_size=12))
def test_going_back_in_place_makes_the_disk_equal_and_writes_nothing_else(size: int, taken: list[object]) -> None:
    world = World(size)
    for step in taken:
        world.take(step)  # type: ignore[arg-type]
    for point, expected in world.history[:3]:
        world.go_back(point, expected, "exact", 1)
    world.back_up()
    point, expected = world.history[-1]
    world.disk.write(0, b"x")
    world.go_back(point, expected, "lost", 0)


def test_what_is_told_to_be_unchanged_is_not_even_looked_at() -> None:
    world = World(4 * REGION)
    world.disk.write(0, b"a" * 4 * REGION)
    world.back_up()
    world.disk.write(REGION, b"b" * BLOCK)
    outcome = world.run(world.history[-1][0], "exact", equalise_disk)
    assert BLOCK <= outcome.compared_bytes <= 2 * LONGEST
    assert world.disk.content == world.history[-1][1]


@pytest.mark.parametrize("told", ["exact", "lost"])
def test_zeros_come_back_as_holes(told: Told) -> None:
    world = World(4 * REGION)
    world.disk.allocated = []
    world.disk.write(REGION // 2, b"a" * 2 * REGION)
    outcome = world.run(world.history[0][0], told, equalise_disk)
    assert (outcome.different_bytes, outcome.read_bytes) == (2 * REGION, 0)
    assert world.disk.allocated == []
