"""Random lives of a repository against plain byte arrays: after every step all points that were not purged restore
exactly, in the trash or not; after collections nothing is stored that nobody needs."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.point import RestorePoint
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.decisions import Undelete
from tests.support.collections import collect, forget, plan_of, purge
from tests.support.decisions import decide
from tests.support.disks import ModelDisk, whole
from tests.support.disks import changed as increment
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

SIZE = 6 * SMALL_CUT.region_bytes
BLOCK = 4096


@dataclass(frozen=True)
class Write:
    offset: int
    blocks: int
    seed: int


@dataclass(frozen=True)
class BackUp:
    machine: int
    in_full: bool


@dataclass(frozen=True)
class Forget:
    which: int


@dataclass(frozen=True)
class Undo:
    which: int


@dataclass(frozen=True)
class Delete:
    which: int


@dataclass(frozen=True)
class Collect:
    pass


Step = Write | BackUp | Forget | Undo | Delete | Collect
which = st.integers(0, 30)
steps = st.one_of(
    st.builds(Write, st.integers(0, SIZE // BLOCK - 1), st.integers(1, 12), st.integers(0, 9)),
    st.builds(BackUp, st.integers(0, 1), st.booleans()),
    st.builds(BackUp, st.integers(0, 1), st.just(False)),
    st.builds(Forget, which),
    st.builds(Undo, which),
    st.builds(Delete, which),
    st.builds(Collect),
)


@pytest.fixture(autouse=True, scope="module", params=[64, 6], ids=["small packs stay", "they are gathered"])
def small_packs(request: pytest.FixtureRequest) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.repository.packing.PACK_BYTES", 40_000)
        patch.setattr("holdfast.repository.packing.NODE_RECORD_BYTES", 1000)
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        patch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 1000)
        patch.setattr("holdfast.repository.collect.plan._WORTH_GATHERING", request.param)
        yield


@dataclass
class World:
    """A disk that two machines have in common, so that they share blocks; what each point holds, by id."""

    repository: Repository = field(default_factory=lambda: new_repository(MemoryStorage(), SMALL_CUT))
    disk: ModelDisk = field(default_factory=lambda: ModelDisk("vda", bytes(SIZE)))
    known: dict[str, tuple[RestorePoint, bytes]] = field(default_factory=dict)
    newest: dict[int, str] = field(default_factory=dict)
    trash: set[str] = field(default_factory=set)

    def take(self, step: Step) -> None:
        match step:
            case Write(at, blocks, seed):
                content = b"".join(random.Random(seed * 16 + number % 7).randbytes(BLOCK) for number in range(blocks))
                self.disk.write(at * BLOCK, content)
            case BackUp(machine, in_full):
                self.back_up(machine, in_full=in_full)
            case Forget(number):
                if name := self.choose(number, self.known.keys() - self.trash):
                    forget(self.repository, self.known[name][0])
                    self.trash.add(name)
            case Undo(number):
                if name := self.choose(number, self.trash):
                    decide(self.repository.log, Undelete(points=[name]))
                    self.trash.remove(name)
            case Delete(number):
                if name := self.choose(number, self.known.keys()):
                    purge(self.repository, self.known.pop(name)[0])
                    self.trash.discard(name)
            case Collect():
                self.collect()

    @staticmethod
    def choose(number: int, names: object) -> str | None:
        ordered = sorted(names)  # type: ignore[call-overload]
        return ordered[number % len(ordered)] if ordered else None

    def back_up(self, machine: int, *, in_full: bool) -> None:
        content = bytes(self.disk.content)
        parent = self.known.get(self.newest.get(machine, ""))
        if in_full:
            parent = None
        disk = increment(content, parent[1]) if parent else whole(content)
        point = back_up_disks(
            self.repository, [disk], parent=parent[0] if parent else None, machine=f"m{machine}", definition=b"<x/>"
        ).point
        self.known[point.id] = point, content
        self.newest[machine] = point.id

    def collect(self) -> None:
        before = self.size()
        planned, report = plan_of(self.repository), collect(self.repository)
        assert before - self.size() == report.freed_bytes
        assert report.condemned_packs == len(planned.condemned)
        assert not report.warnings
        left = plan_of(self.repository)
        assert not left.dead
        assert not left.leftovers
        assert left.freed_bytes <= planned.freed_bytes / 10 or left.freed_bytes < 6000

    def size(self) -> int:
        return sum(stored.size for stored in self.repository.storage.list(""))

    def require_exact(self) -> None:
        stranger = reopened(self.repository)
        assert stranger.state().standings.keys() == self.known.keys()
        for point, content in self.known.values():
            assert restored(stranger, point) == content


@given(st.lists(steps, min_size=6, max_size=40))
@settings(max_examples=100, deadline=None)
def test_whatever_is_backed_up_deleted_and_collected_every_other_point_restores(course: list[Step]) -> None:
    world = World()
    for step in course:
        world.take(step)
        if isinstance(step, Collect | BackUp):
            world.require_exact()
    report = check(world.repository)
    assert report.ok, report.damage
    for name in list(world.known):
        purge(world.repository, world.known.pop(name)[0])
    collect(world.repository)
    assert not list(world.repository.storage.list("packs/"))
    assert not list(world.repository.storage.list("index/"))


def test_a_course_with_everything_in_it() -> None:
    world = World()
    course: list[Step] = []
    for seed in range(8):
        course += [Write(seed * 9, 12, seed), BackUp(seed % 2, in_full=seed == 4), Write(3, 2, seed)]
    course += [Delete(1), Forget(2), Collect(), Undo(0), Delete(3), Write(20, 30, 9), BackUp(0, in_full=False)]
    course += [Collect(), Delete(0), Delete(0), Collect(), Collect()]
    for step in course:
        world.take(step)
        world.require_exact()
    condemned = world.repository.state().condemned
    assert len(set(condemned.values())) >= 3, "no three collections condemned anything"
    assert check(world.repository).ok
