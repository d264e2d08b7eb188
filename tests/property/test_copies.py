"""Copies against plain byte arrays: whatever is backed up where, copied whichever way, and cut off at whichever put,
every point that a repository shows restores byte for byte, and a copy that is run again completes."""

import random
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.copy import choose_points, copy_planned, plan_copy
from holdfast.mover import Care
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.property.test_road import REGION, changes, content, held
from tests.support.disks import CapturedModel, ModelDisk
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, restored
from tests.support.storage import FATES, FaultyStorage, PowerCut

SIZE = 5 * REGION + 123
PLACES = 3


@dataclass(frozen=True)
class Write:
    machine: int
    offset: int
    length: int
    seed: int


@dataclass(frozen=True)
class Resize:
    machine: int
    size: int


@dataclass(frozen=True)
class BackUp:
    machine: int
    told: str


@dataclass(frozen=True)
class Copy:
    source: int
    target: int
    cut_at: int  # 0: not at all
    fate: str


Step = Write | Resize | BackUp | Copy
machines = st.integers(0, 1)
places = st.integers(0, PLACES - 1)
steps = st.one_of(
    st.builds(Write, machines, st.integers(0, SIZE), st.sampled_from([1, 4096, 20_000, REGION]), st.integers(0, 6)),
    st.builds(Resize, machines, st.sampled_from([0, 4097, REGION, SIZE])),
    st.builds(BackUp, machines, st.sampled_from(["exact", "everything", "full"])),
    st.builds(BackUp, machines, st.sampled_from(["exact", "everything", "full"])),
    st.builds(Copy, places, places, st.integers(0, 6), st.sampled_from(sorted(FATES))),
    st.builds(Copy, places, places, st.just(0), st.just("lost")),
)


@dataclass
class World:
    """Two machines, each backed up into a repository of its own; a third one; the first two name alike."""

    storages: list[MemoryStorage] = field(default_factory=lambda: [MemoryStorage() for _ in range(PLACES)])
    disks: list[ModelDisk] = field(default_factory=lambda: [ModelDisk("vda", bytes(SIZE)), ModelDisk("vda")])
    parents: list[RestorePoint | None] = field(default_factory=lambda: [None, None])
    contents: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = new_repository(self.storages[0], SMALL_CUT)
        new_repository(self.storages[1], like=first)
        new_repository(self.storages[2], SMALL_CUT)

    def open(self, place: int) -> Repository:
        return open_repository(self.storages[place], PASSPHRASE)

    def take(self, step: Step) -> None:
        match step:
            case Write(machine, offset, length, seed):
                self.disks[machine].write(offset, content(seed, length, offset))
            case Resize(machine, size):
                self.disks[machine].resize(size)
            case BackUp(machine, told):
                self.back_up(machine, told)
            case Copy(source, target, cut_at, fate):
                if source != target:
                    self.copy(source, target, cut_at, fate)
                    self.require_exact(target)

    def back_up(self, machine: int, told: str) -> None:
        disk = self.disks[machine]
        captured = CapturedModel(
            name="vda", content=bytes(disk.content), held=held(disk, "allocated"), changed=changes(disk, told)
        )
        point = back_up_disks(
            self.open(machine), [captured], parent=self.parents[machine], machine=f"m{machine}", definition=b"<domain/>"
        ).point
        disk.dirty = []
        self.parents[machine] = point
        self.contents[point.id] = bytes(disk.content)

    def copy(self, source: int, target: int, cut_at: int, fate: str) -> None:
        storage = FaultyStorage(self.storages[target])
        into = open_repository(storage, PASSPHRASE)
        if not cut_at:
            copy_all(self.open(source), into)
            assert {point.id for point in self.open(source).points()} <= {point.id for point in into.points()}
            return
        storage._plan[len(storage.puts) + cut_at] = FATES[fate]  # there may be fewer puts
        with suppress(PowerCut):
            copy_all(self.open(source), into)

    def require_exact(self, place: int) -> None:
        repository = self.open(place)
        for point in repository.points():
            assert restored(repository, point) == self.contents[point.id]
            assert point.definition.xml is not None
            assert repository.read_blob(point.definition.xml) == b"<domain/>"


def copy_all(source: Repository, target: Repository) -> None:
    plan = plan_copy(source, target, choose_points(source.points(), [], [], proven=()))
    for planned in plan.points:
        copy_planned(source, target, planned, method=plan.method, care=Care(verify_share=0.5), progress=Silence())


@given(st.lists(steps, max_size=20))
@settings(max_examples=100, deadline=None)
def test_whatever_is_copied_and_cut_off_every_point_shown_is_exact(
    course: list[Write | Resize | BackUp | Copy],
) -> None:
    world = World()
    for step in course:
        world.take(step)
    for source in range(PLACES):
        for target in range(PLACES):
            world.take(Copy(source, target, 0, ""))
    for place in range(PLACES):
        assert check(world.open(place)).ok
        assert {point.id for point in world.open(place).points()} == world.contents.keys()


def a_history() -> World:
    """A full and two increments, and a point of another machine that shares most of it."""
    world = World()
    for seed in (1, 2, 3):
        world.take(Write(0, seed * 50_000, 70_000, seed))
        world.take(BackUp(0, "exact"))
    return world


@pytest.mark.parametrize("fate", sorted(FATES))
@pytest.mark.parametrize("target", [1, 2], ids=["alike", "strange"])
def test_a_copy_cut_off_at_any_put_leaves_whole_points_and_is_completed_by_the_next(
    target: int, fate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    counted = a_history()
    storage = FaultyStorage(counted.storages[target])
    copy_all(counted.open(0), open_repository(storage, PASSPHRASE))
    puts = len(storage.puts)
    assert puts >= 9
    for cut_at in range(1, puts + 1):
        world = a_history()
        broken = FaultyStorage(world.storages[target])
        with pytest.raises(PowerCut), broken.at_put(cut_at, FATES[fate]):
            copy_all(world.open(0), open_repository(broken, PASSPHRASE))
        world.require_exact(target)
        world.copy(0, target, 0, "")
        world.require_exact(target)
        assert len(world.open(target).points()) == 3
        assert check(world.open(target)).ok


def test_what_an_index_object_lists_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 50_000)
    world = World()
    world.disks[0].write(0, random.Random(1).randbytes(SIZE))
    world.take(BackUp(0, "full"))
    storage = FaultyStorage(world.storages[1])
    into = open_repository(storage, PASSPHRASE)
    with pytest.raises(PowerCut), storage.at_every_put("log/", FATES["lost"]):
        copy_all(world.open(0), into)
    before = {name for name in world.storages[1].objects if name.startswith("packs/")}
    world.copy(0, 1, 0, "")
    world.require_exact(1)
    assert {name for name in world.storages[1].objects if name.startswith("packs/")} == before
