"""A block of which one copy is marked, one rotten and one good: a collection keeps the good one, whatever the order.

Index objects are loaded in the order of their names, which are hashes: any order may come.
"""

import random
from collections.abc import Iterable, Iterator

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.progress import Silence
from holdfast.mover import Care
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.packs import DATA
from holdfast.repository.storage.port import Stored
from tests.support.collections import collect
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened, restored

CONTENT = random.Random(1).randbytes(8 * SMALL_CUT.region_bytes)


@pytest.fixture(autouse=True, params=[1, 4], ids=["near", "distant"])
def distance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a collection waits for each read, or reads ahead."""
    monkeypatch.setattr(MemoryStorage, "reads_at_once", request.param)


class Ordered(MemoryStorage):
    """Lists index objects in an order that a test names."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def list(self, prefix: str) -> Iterator[Stored]:
        listed = sorted(super().list(prefix), key=lambda each: each.name in self.order and self.order.index(each.name))
        return iter(listed)


class Copies:
    """A point, and packs and an index object for every copy of what it needs."""

    def __init__(self) -> None:
        self.storage = Ordered()
        self.repository = new_repository(self.storage, SMALL_CUT)
        self._seen = set(self.storage.objects)
        self.point = back_up_disks(self.opened(), [whole(CONTENT)]).point

    def opened(self) -> Repository:
        return reopened(self.repository)

    def new(self, kind: str) -> set[str]:
        """Objects of a kind that have appeared since this was asked for last."""
        fresh = {name for name in self.storage.objects if name.startswith(kind)} - self._seen
        self._seen |= fresh
        return fresh

    def rot(self, names: Iterable[str]) -> None:
        """One bit of every record of data in these packs."""
        records = self.opened().records
        records.load_index()
        for pack in records.index.packs:
            if pack.object in names and pack.header.type == DATA:
                blob = bytearray(self.storage.objects[pack.object])
                for offset in pack.table.records["offset"].tolist():
                    blob[offset + 3] ^= 1
                self.storage.objects[pack.object] = bytes(blob)

    def mark(self) -> None:
        repository = self.opened()
        repository.mark(repository.check(Silence()).marks)


@pytest.mark.parametrize("order", ["QPR", "PQR", "RQP", "QRP", "PRQ", "RPQ"])
def test_the_good_copy_stays(order: str) -> None:
    copies = Copies()
    (r,) = copies.new("index/")
    copies.rot(copies.new("packs/"))
    copies.mark()
    back_up_disks(copies.opened(), [whole(CONTENT)])
    (q,) = copies.new("index/")
    copies.rot(copies.new("packs/"))
    back_up_disks(copies.opened(), [whole(CONTENT)], care=Care(heal=True))
    (p,) = copies.new("index/")
    assert restored(copies.opened(), copies.point) == CONTENT
    copies.storage.order = [{"R": r, "Q": q, "P": p}[each] for each in order]
    collect(copies.repository)
    assert restored(copies.opened(), copies.point) == CONTENT


@pytest.mark.parametrize("order", ["QPR", "PRQ"])
def test_the_good_copy_of_two_that_were_made_at_once_stays(order: str) -> None:
    """The next backups of two equal machines store what is marked anew, beside each other; one copy rots later."""
    copies = Copies()
    (r,) = copies.new("index/")
    copies.rot(copies.new("packs/"))
    copies.mark()
    beside: list[set[str]] = []

    def on_another_host(_offset: int, _length: int) -> None:
        if not beside:
            beside.append(set())
            back_up_disks(copies.opened(), [whole(CONTENT)], machine="on another host")
            beside[:] = [copies.new("index/"), copies.new("packs/")]

    back_up_disks(copies.opened(), [whole(CONTENT, fault=on_another_host)])
    (p,), (q,) = beside[0], copies.new("index/")
    copies.rot(copies.new("packs/"))
    assert restored(copies.opened(), copies.point) == CONTENT
    copies.storage.order = [{"R": r, "Q": q, "P": p}[each] for each in order]
    collect(copies.repository)
    assert restored(copies.opened(), copies.point) == CONTENT


def test_what_has_been_healed_is_found_damaged_until_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record of a large pack rots; its good neighbours are moved out of the pack, and it goes."""
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    content = random.Random(2).randbytes(64 * SMALL_CUT.region_bytes)
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    point = back_up_disks(reopened(repository), [whole(content)]).point
    storage = repository.storage
    assert isinstance(storage, MemoryStorage)
    name = max((each for each in storage.objects if each.startswith("packs/")), key=lambda each: len(storage.get(each)))
    blob = bytearray(storage.objects[name])
    blob[len(blob) // 2] ^= 1
    storage.objects[name] = bytes(blob)
    checking = reopened(repository)
    checking.mark(checking.check(Silence()).marks)
    back_up_disks(reopened(repository), [whole(content)])
    assert {damage.point for damage in reopened(repository).check(Silence()).damage} == {None}
    assert collect(repository).condemned_packs == 1
    assert reopened(repository).check(Silence()).ok
    assert restored(reopened(repository), point) == content


def test_a_pack_that_is_lost_is_missed_until_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    point = back_up_disks(reopened(repository), [whole(CONTENT)]).point
    storage = repository.storage
    assert isinstance(storage, MemoryStorage)
    del storage.objects[max((each for each in storage.objects if each.startswith("packs/")), key=storage.size)]
    with pytest.raises(DamagedError):
        collect(repository)
    back_up_disks(reopened(repository), [whole(CONTENT)])
    assert [damage.kind for damage in reopened(repository).check(Silence()).damage] == ["missing"]
    assert collect(repository).condemned_packs == 1
    assert reopened(repository).check(Silence()).ok
    assert restored(reopened(repository), point) == CONTENT
    assert collect(repository).condemned_packs == 0
