"""A collection that puts packs in order: it needs little room, and whatever ends it, what it has freed stays free."""

import random

import pytest

from holdfast.core.point import RestorePoint
from holdfast.repository import Repository
from tests.support.collections import collect, plan_of, purge
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, restored
from tests.support.storage import FaultyStorage, PowerCut, SmallDisk, lost
from tests.unit.repository.test_disk_order import history, reads, unneeded_share

_SIZE = 40 * SMALL_CUT.region_bytes


@pytest.fixture(autouse=True)
def packs_and_portions_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 400_000)
    monkeypatch.setattr("holdfast.repository.collect.plan._SMALL_BYTES", 300_000)
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_GATHERING", 8)
    monkeypatch.setattr("holdfast.repository.collect.run.SMALLEST_PORTION", 100_000)
    monkeypatch.setattr("holdfast.repository.collect.run._REPLACED_AT_ONCE", 6_400_000)


def an_aged_repository(storage: SmallDisk | FaultyStorage) -> tuple[Repository, list[tuple[RestorePoint, bytes]]]:
    """With as much garbage as one disk takes."""
    repository = new_repository(storage, cut=SMALL_CUT)
    junk = back_up_disks(repository, [whole(random.Random(9).randbytes(_SIZE))]).point
    made = history(repository, 24)
    purge(repository, junk)
    return repository, made


def test_packs_are_put_in_order_a_portion_at_a_time_where_there_is_no_room_for_more() -> None:
    disk = SmallDisk()
    repository, made = an_aged_repository(disk)
    plan = plan_of(repository)
    assert plan.gathered
    assert plan.parted
    disk.capacity = disk.used_bytes + 20_000
    assert sum(use.size_bytes for use in plan.dead) < plan.rewritten_bytes, "there is room for all at once"
    newest, _ = made[-1]
    before = unneeded_share(reads(repository, newest))
    report = collect(repository)
    assert not report.warnings
    assert unneeded_share(reads(repository, newest)) < before / 2
    assert check(repository).ok
    for point, content in made:
        assert restored(repository, point) == content


def test_where_others_take_the_room_at_once_the_garbage_goes_and_the_order_stays() -> None:
    disk = SmallDisk()
    repository, made = an_aged_repository(disk)
    dead = sum(use.size_bytes for use in plan_of(repository).dead)
    assert dead
    disk.largest, used = 40_000, disk.used_bytes
    report = collect(repository)
    assert disk.used_bytes < used - dead + 2 * disk.largest
    assert "no room to put" in report.warnings[-1]
    for _ in range(3):
        entries = repository.state().number
        collect(repository)
        assert repository.state().number <= entries + 4, "one for each size of a portion at the most"
    disk.largest = disk.capacity
    assert not collect(repository).warnings
    assert check(repository).ok
    for point, content in made:
        assert restored(repository, point) == content


def test_what_was_freed_stays_free_whenever_the_collection_is_killed_while_it_puts_packs_in_order() -> None:
    disk = SmallDisk()
    storage = FaultyStorage(disk)
    repository, made = an_aged_repository(storage)
    dead = {use.name for use in plan_of(repository).dead}
    assert dead
    for _ in range(4):
        with pytest.raises(PowerCut), storage.at_put(6, lost):
            collect(repository)
        storage.dead = False
        assert dead <= repository.state().condemned.keys()
        assert not any(name in path for path in disk.objects for name in dead)
    assert not collect(repository).warnings
    assert check(repository).ok
    for point, content in made:
        assert restored(repository, point) == content
