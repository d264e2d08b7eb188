"""The whole road against plain byte arrays: whatever a guest does, and however its changes are told, every point ever
made restores byte for byte, and its tree is the one that a fresh full of the same bytes would have."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.extents import Extent, align_outward, normalise
from holdfast.core.point import RestorePoint
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.support.disks import CapturedModel, ModelDisk
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

REGION = SMALL_CUT.region_bytes
LARGEST = 9 * REGION

sizes = st.one_of(
    st.integers(0, LARGEST),
    st.sampled_from([0, 1, 511, 512, 4095, 4096, 4097, REGION - 1, REGION, REGION + 1, 2 * REGION]),
)
places = st.one_of(st.integers(0, LARGEST), st.integers(0, LARGEST // 4096).map(lambda block: block * 4096))
lengths = st.one_of(st.integers(0, 3 * 4096), st.sampled_from([1, 512, 4096, 65536, 3 * REGION]))


@dataclass(frozen=True)
class Write:
    disk: int
    offset: int
    length: int
    seed: int  # 0 writes zeros


@dataclass(frozen=True)
class Trim:
    disk: int
    offset: int
    length: int


@dataclass(frozen=True)
class Resize:
    disk: int
    size: int


@dataclass(frozen=True)
class BackUp:
    machine: int
    told: tuple[str, str]  # how each disk's changes are told
    shown: str  # how data is told


Step = Write | Trim | Resize | BackUp
disks = st.integers(0, 3)
steps = st.one_of(
    st.builds(Write, disks, places, lengths, st.integers(0, 6)),
    st.builds(Write, disks, places, lengths, st.integers(0, 6)),
    st.builds(Trim, disks, places, lengths),
    st.builds(Resize, disks, sizes),
    st.builds(
        BackUp,
        st.integers(0, 1),
        st.tuples(*[st.sampled_from(["exact", "exact", "64k", "far too much", "everything", "lost", "full"])] * 2),
        st.sampled_from(["allocated", "allocated by 64k", "everything"]),
    ),
)


@dataclass
class Machine:
    name: str
    disks: Sequence[ModelDisk]
    parent: RestorePoint | None = None
    history: list[tuple[RestorePoint, dict[str, bytes]]] = field(default_factory=list)


def content(seed: int, length: int, offset: int) -> bytes:
    """Bytes that repeat across disks and places, so that there is something to deduplicate."""
    if seed == 0:
        return bytes(length)
    pattern = b"".join(bytes([seed * 16 + part]) * 4096 for part in range(7))
    start = offset % len(pattern)
    return (pattern * (length // len(pattern) + 2))[start : start + length]


def changes(disk: ModelDisk, told: str) -> list[Extent] | None:
    if disk.dirty is None or told in {"lost", "full"}:
        return None
    match told:
        case "64k":
            return align_outward(disk.dirty, 65536, disk.size)
        case "far too much":
            around = [Extent(max(0, start - 10_000), min(end + 70_001, disk.size)) for start, end in disk.dirty]
            return normalise([*around, Extent(disk.size // 3, disk.size // 2)])
        case "everything":
            return normalise([Extent(0, disk.size)])
        case _:
            return list(disk.dirty)


def held(disk: ModelDisk, shown: str) -> list[Extent]:
    if shown == "everything":
        return normalise([Extent(0, disk.size)])
    return align_outward(disk.allocated, 65536, disk.size) if shown == "allocated by 64k" else list(disk.allocated)


def captured(disk: ModelDisk, told: str, shown: str) -> CapturedModel:
    return CapturedModel(
        name=disk.name, content=bytes(disk.content), held=held(disk, shown), changed=changes(disk, told)
    )


class World:
    """Two machines of two disks each, one repository, and a twin of it that only ever sees fulls."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.repository = new_repository(self.storage, SMALL_CUT)
        self.empty = dict(self.storage.objects)
        self.machines = [Machine(name, [ModelDisk("vda"), ModelDisk("vdb")]) for name in ("web", "db")]

    def take(self, step: Step) -> None:
        match step:
            case Write(number, offset, length, seed):
                self.disk(number).write(offset, content(seed, length, offset))
            case Trim(number, offset, length):
                self.disk(number).trim(offset, length)
            case Resize(number, size):
                self.disk(number).resize(size)
            case BackUp(number, told, shown):
                self.back_up(self.machines[number], told, shown)

    def disk(self, number: int) -> ModelDisk:
        return self.machines[number // 2].disks[number % 2]

    def back_up(self, machine: Machine, told: Sequence[str], shown: str) -> None:
        captures = [captured(disk, how, shown) for disk, how in zip(machine.disks, told, strict=True)]
        outcome = back_up_disks(self.repository, captures, parent=machine.parent, machine=machine.name)
        machine.parent = outcome.point
        for disk in machine.disks:
            disk.dirty = []
        contents = {disk.name: bytes(disk.content) for disk in machine.disks}
        machine.history.append((outcome.point, contents))
        self.require_exact(self.repository, outcome.point, contents)
        self.require_canonical(outcome.point, contents)

    def require_exact(self, repository: Repository, point: RestorePoint, contents: dict[str, bytes]) -> None:
        for name, expected in contents.items():
            assert restored(repository, point, name) == expected
            disk = point.disk(name)
            assert disk is not None
            assert repository.open_disk(disk.root).read_all() == expected

    def require_canonical(self, point: RestorePoint, contents: dict[str, bytes]) -> None:
        """A store that has seen nothing yet gives the same bytes the same root."""
        twin = MemoryStorage()
        twin.objects.update(self.empty)
        fulls = [
            CapturedModel(name=name, content=whole, held=normalise([Extent(0, len(whole))]))
            for name, whole in contents.items()
        ]
        fresh = back_up_disks(open_repository(twin, PASSPHRASE), fulls).point
        assert {disk.name: disk.root for disk in fresh.disks} == {disk.name: disk.root for disk in point.disks}


@given(st.tuples(sizes, sizes, sizes, sizes), st.lists(steps, max_size=25))
@settings(max_examples=300, deadline=None)
def test_every_point_ever_made_restores_and_its_tree_is_canonical(
    at_first: tuple[int, int, int, int], course: list[Step]
) -> None:
    world = World()
    for number, size in enumerate(at_first):
        world.disk(number).resize(size)
    for step in course:
        world.take(step)
    stranger = reopened(world.repository)
    assert check(world.repository).ok
    for machine in world.machines:
        for point, contents in machine.history:
            world.require_exact(stranger, point, contents)


def test_a_course_with_everything_in_it() -> None:
    """What the random courses are made of, once for certain: full, increments told in every way, growth past 64
    regions, shrinking, lost marks."""
    world = World()
    world.disk(0).resize(3 * REGION + 123)
    course: list[Step] = [
        Write(0, 0, LARGEST, 1),
        BackUp(0, ("full", "full"), "everything"),
        *(
            step
            for seed, told in enumerate(["exact", "64k", "far too much", "everything", "lost"], start=2)
            for step in (
                Write(0, seed * 7000, 9001, seed),
                Trim(0, 5000 * seed, 4096),
                BackUp(0, (told, told), "allocated"),
            )
        ),
        Resize(0, 70 * REGION + 1),
        Write(0, 65 * REGION + 77, 9000, 3),
        BackUp(0, ("exact", "exact"), "allocated"),
        Resize(0, 5000),
        BackUp(0, ("exact", "exact"), "allocated by 64k"),
    ]
    for step in course:
        world.take(step)
    captures = [point.disks[0].capture for point, _ in world.machines[0].history]
    assert captures == ["full", *["incremental"] * 4, "full", "incremental", "full"]
    assert check(world.repository).ok
