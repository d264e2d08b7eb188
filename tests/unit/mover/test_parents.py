"""What an increment builds on: the parent's tree where it is sound and known, a full read where it is not."""

import random
from collections.abc import Callable

import pytest

from holdfast.core.extents import Extent, normalise
from holdfast.core.point import RestorePoint
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.nodes import decode_page
from tests.support.disks import CapturedModel, changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened, restored
from tests.support.storage import RecordingStorage

REGION = SMALL_CUT.region_bytes
FIRST = random.Random(1).randbytes(70 * REGION)  # two levels of pages
EDIT = random.Random(2).randbytes(30_000)
SECOND = FIRST[: 66 * REGION] + EDIT + FIRST[66 * REGION + len(EDIT) :]


@pytest.fixture
def repository(storage: MemoryStorage) -> Repository:
    return new_repository(storage, SMALL_CUT)


def test_an_increment_reads_what_its_changes_touch_and_stores_what_is_new(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(FIRST)]).point
    outcome = back_up_disks(repository, [changed(SECOND, FIRST)], parent=parent)
    assert len(EDIT) <= outcome.read_bytes <= REGION  # what the keys of this run make of it
    assert len(EDIT) <= outcome.sent_bytes <= REGION
    assert outcome.stored_bytes <= 1.1 * REGION + 10_000
    disk = outcome.point.disks[0]
    assert (disk.capture, disk.reason) == ("incremental", "changed since the mark")
    assert outcome.point.parent == parent.id


def test_nothing_changed_reads_nothing_and_shares_the_whole_tree(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(FIRST)]).point
    outcome = back_up_disks(repository, [changed(FIRST, FIRST)], parent=parent)
    assert (outcome.read_bytes, outcome.sent_bytes) == (0, 0)
    assert outcome.point.disks[0].root == parent.disks[0].root
    assert restored(repository, outcome.point) == FIRST


def test_an_increment_reads_no_more_of_the_store_than_pages_above_what_changed() -> None:
    storage = RecordingStorage(MemoryStorage())
    repository = new_repository(storage, SMALL_CUT)
    parent = back_up_disks(repository, [whole(FIRST)]).point
    fresh = reopened(repository)
    storage.operations.clear()
    back_up_disks(fresh, [changed(SECOND, FIRST)], parent=parent)
    assert len(storage.names("read")) <= 5  # root, two pages, the leaf: each a record at most
    assert not storage.names("get", "packs/")


# --- a parent that cannot be built on ---------------------------------------------------------------------------------


def page_above(repository: Repository, root: bytes, level: int) -> bytes:
    """The node of that level above the changed regions; 0 is the leaf."""
    disk = repository.open_disk(root.hex())
    node, at = disk.root.top, disk.root.depth
    assert node is not None
    while at > level:
        at -= 1
        children = decode_page(disk.read_node(node), at + 1)
        node = children[66 // 64**at % 64]
    return node


Victim = Callable[[Repository, bytes], bytes]
VICTIMS: dict[str, Victim] = {
    "root": lambda _repository, root: root,
    "top page": lambda repository, root: page_above(repository, root, 2),
    "page": lambda repository, root: page_above(repository, root, 1),
    "leaf": lambda repository, root: page_above(repository, root, 0),
}


def lose(storage: MemoryStorage, repository: Repository, wanted: bytes) -> None:
    index = reopened(repository).records
    index.load_index()
    for place in index.index.copies(wanted):
        pack = index.index.packs[place.pack]
        row = pack.table.records[pack.table.record_of(place.segment)]
        content = bytearray(storage.objects[pack.object])
        content[int(row["offset"])] ^= 1
        storage.objects[pack.object] = bytes(content)


@pytest.mark.parametrize("record_bytes", [1, 32 * 1024], ids=["alone", "with its neighbours"])
@pytest.mark.parametrize("victim", VICTIMS.keys())
def test_a_damaged_node_of_the_parent_costs_reads_and_nothing_else(
    storage: MemoryStorage, repository: Repository, victim: str, record_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do the leaves of regions that did not change, which the damaged record may have held as well."""
    monkeypatch.setattr("holdfast.repository.writer.NODE_RECORD_BYTES", record_bytes)
    parent = back_up_disks(repository, [whole(FIRST)]).point
    lose(storage, repository, VICTIMS[victim](repository, bytes.fromhex(parent.disks[0].root)))
    outcome = back_up_disks(reopened(repository), [changed(SECOND, FIRST)], parent=parent)
    disk = outcome.point.disks[0]
    assert len(SECOND) <= outcome.read_bytes <= len(SECOND) + REGION
    assert (disk.capture, disk.reason) == ("full", "the point before cannot be built on")
    assert restored(reopened(repository), outcome.point) == SECOND


def test_where_one_thing_is_damaged_nothing_is_relied_on_unread(storage: MemoryStorage, repository: Repository) -> None:
    """A damaged root, and data that did not change: the full read finds it in the source and stores it again."""
    parent = back_up_disks(repository, [whole(FIRST)]).point
    disk = repository.open_disk(parent.disks[0].root)
    lost_data = disk.pieces(next(leaf.leaf for leaf in disk.leaves() if leaf.region == 3))[0].id
    assert lost_data is not None
    lose(storage, repository, lost_data)
    lose(storage, repository, bytes.fromhex(parent.disks[0].root))
    outcome = back_up_disks(reopened(repository), [changed(SECOND, FIRST)], parent=parent)
    assert restored(reopened(repository), outcome.point) == SECOND
    assert outcome.sent_bytes < len(SECOND) // 4, "what was whole was sent again"


def test_whoever_can_be_built_on_is_not_read_in_full_beside_one_who_cannot(
    storage: MemoryStorage, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.writer.NODE_RECORD_BYTES", 1)
    parent = back_up_disks(repository, [whole(FIRST, name="vda"), whole(SECOND, name="vdb")]).point
    lose(storage, repository, bytes.fromhex(parent.disks[0].root))
    outcome = back_up_disks(
        reopened(repository), [changed(SECOND, FIRST, name="vda"), changed(FIRST, SECOND, name="vdb")], parent=parent
    )
    vda, vdb = outcome.disks
    assert vda.read_bytes == len(SECOND)
    assert vdb.read_bytes <= REGION
    assert [disk.capture for disk in outcome.point.disks] == ["full", "incremental"]
    assert restored(reopened(repository), outcome.point, "vda") == SECOND
    assert restored(reopened(repository), outcome.point, "vdb") == FIRST


def test_extents_out_of_order_or_overlapping_make_no_wrong_point(repository: Repository) -> None:
    """A capture that breaks its promise must not make one region overwrite its other half."""
    parent = back_up_disks(repository, [whole(FIRST)]).point
    middle = len(SECOND) // 2 + 5000
    held = [Extent(middle, len(SECOND)), Extent(0, middle + 9000), Extent(100, 200)]
    start = 66 * REGION
    changes = [Extent(start + 9000, start + len(EDIT)), Extent(start, start + 12_000)]
    full = CapturedModel(name="vda", content=SECOND, held=held)
    assert restored(repository, back_up_disks(repository, [full], machine="other").point) == SECOND
    edit = CapturedModel(name="vda", content=SECOND, held=held, changed=changes)
    assert restored(repository, back_up_disks(repository, [edit], parent=parent).point) == SECOND


def test_a_disk_that_the_parent_does_not_have_is_read_in_full_and_says_so(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(FIRST, name="vda")]).point
    outcome = back_up_disks(repository, [changed(SECOND, FIRST, name="vdb")], parent=parent)
    assert outcome.read_bytes == len(SECOND)
    assert outcome.point.disks[0].capture == "full"
    assert restored(repository, outcome.point, "vdb") == SECOND


def test_a_disk_that_has_shrunk_is_read_in_full(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(FIRST)]).point
    smaller = FIRST[: 5 * REGION + 7]
    outcome = back_up_disks(repository, [changed(smaller, FIRST)], parent=parent)
    assert outcome.read_bytes == len(smaller)
    assert restored(repository, outcome.point) == smaller


def test_a_parent_that_never_lived_here_costs_reads_and_nothing_else(repository: Repository) -> None:
    elsewhere = new_repository(None, SMALL_CUT)
    stranger = back_up_disks(elsewhere, [whole(FIRST)]).point
    point = back_up_disks(repository, [changed(SECOND, FIRST)], parent=stranger).point
    assert restored(reopened(repository), point) == SECOND
    assert point.disks[0].capture == "full"


# --- large and growing ------------------------------------------------------------------------------------------------


class SparseReader:
    def __init__(self, blocks: dict[int, bytes]) -> None:
        self._blocks = blocks

    def read_into(self, offset: int, buffer: memoryview) -> None:
        assert offset % 4096 == 0
        for at in range(0, len(buffer), 4096):
            buffer[at : at + 4096] = self._blocks.get((offset + at) // 4096, bytes(4096))[: len(buffer) - at]

    def close(self) -> None:
        pass


class SparseDisk(CapturedModel):
    """A disk far larger than memory: the blocks it holds, by number."""

    def __init__(self, size: int, blocks: dict[int, bytes], changes: set[int] | None = None) -> None:
        def extents(numbers: set[int]) -> list[Extent]:
            return normalise(Extent(number * 4096, min(number * 4096 + 4096, size)) for number in numbers)

        super().__init__(
            name="vda",
            content=b"",
            held=extents(set(blocks)),
            changed=None if changes is None else extents(changes),
        )
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "blocks", dict(blocks))

    @property
    def size_bytes(self) -> int:
        return int(self.size)  # type: ignore[attr-defined]

    def open_reader(self) -> SparseReader:
        return SparseReader(self.blocks)  # type: ignore[attr-defined]


MIB = 1024 * 1024
History = list[tuple[RestorePoint, dict[int, bytes]]]


def test_a_sparse_disk_that_grows_through_every_depth_keeps_its_older_points() -> None:
    """Regions of 4 MiB: past 64 of them, past 4,096, past 262,144 (1 TiB)."""
    repository = new_repository()
    chance = random.Random(5)
    blocks: dict[int, bytes] = {}
    history: History = []
    sizes = [3 * MIB, 5 * MIB, 260 * MIB + 512, 17_000 * MIB, 17_001 * MIB, (1 << 20) * MIB + 4096]
    for size in sizes:
        changes = {chance.randrange(size // 4096) for _ in range(12)} | {size // 4096 - 1, 0}
        blocks.update({number: chance.randbytes(4096) for number in changes})
        parent = history[-1][0] if history else None
        outcome = back_up_disks(repository, [SparseDisk(size, blocks, changes if parent else None)], parent=parent)
        assert outcome.read_bytes <= len(blocks) * 4096
        history.append((outcome.point, dict(blocks)))
        fresh = back_up_disks(reopened(repository), [SparseDisk(size, blocks)])
        assert fresh.point.disks[0].root == outcome.point.disks[0].root
        assert fresh.sent_bytes == 0
    stranger = reopened(repository)
    for (point, held), size in zip(history, sizes, strict=True):
        disk = stranger.open_disk(point.disks[0].root)
        assert disk.size_bytes == size
        for number in {*held, *(chance.randrange(size // 4096) for _ in range(20))}:
            assert disk.read(number * 4096, 4096) == held.get(number, bytes(4096))


@pytest.mark.parametrize("definition", [None, b"", b"x", b"<domain/>" * 1_000_000])
@pytest.mark.parametrize("nvram", [None, bytes(540_672)])
def test_a_definition_comes_back_as_it_was_and_none_stays_none(
    repository: Repository, definition: bytes | None, nvram: bytes | None
) -> None:
    point = back_up_disks(repository, [whole(b"disk")], definition=definition, nvram=nvram).point
    fresh = reopened(repository)
    for held, expected in ((point.definition.xml, definition), (point.definition.nvram, nvram)):
        assert (None if held is None else fresh.read_blob(held)) == expected


def test_disks_of_no_size_and_of_odd_sizes_come_back_exactly(repository: Repository) -> None:
    contents = {f"vd{number}": random.Random(number).randbytes(size) for number, size in enumerate([0, 1, 511, 4097])}
    point = back_up_disks(repository, [whole(content, name=name) for name, content in contents.items()]).point
    assert {name: restored(reopened(repository), point, name) for name in contents} == contents
