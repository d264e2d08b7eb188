"""Reading ahead: the same bytes by the same number of gets, many of them at once, and never too many."""

import threading
from collections.abc import Iterator

import pytest

from holdfast.repository import MemoryStorage, create_repository, open_repository
from holdfast.repository.storage.port import ObjectMissingError, StorageError, Stored
from holdfast.repository.storage.readahead import ReadAheadStorage
from tests.support.repositories import CHEAP
from tests.support.storage import FaultyStorage, RecordingStorage

COUNT = 60


class Crowded(MemoryStorage):
    """Counts how many gets are under way at once; lets none end before so many are, or nobody more is coming."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.most = 0
        self._wanted = wanted
        self._under_way = 0
        self._changed = threading.Condition()

    def get(self, name: str) -> bytes:
        with self._changed:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._wanted, timeout=10)
        content = super().get(name)
        with self._changed:
            self._under_way -= 1
        return content


def filled(storage: MemoryStorage, folder: str = "log/", size: int = 10) -> list[str]:
    names = [f"{folder}{number:012}" for number in range(1, COUNT + 1)]
    for number, name in enumerate(names):
        storage.put(name, [bytes([number]) * size])
    return names


@pytest.mark.parametrize("folder", ["log/", "index/"])
def test_listed_objects_are_got_sixteen_at_once_and_each_once(folder: str) -> None:
    crowded = Crowded(wanted=16)
    names = filled(crowded, folder)
    counted = RecordingStorage(crowded)
    storage = ReadAheadStorage(counted)
    listed = [stored.name for stored in storage.list(folder)]
    assert listed == names
    for number, name in enumerate(names):
        assert storage.get(name) == bytes([number]) * 10
    assert crowded.most == 16
    assert sorted(counted.names("get")) == names


def test_large_objects_are_held_only_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.storage.readahead._OBJECT_BYTES", 3500)
    crowded = Crowded(wanted=3)
    names = filled(crowded, "index/", size=1000)
    storage = ReadAheadStorage(crowded)
    list(storage.list("index/"))
    for name in names:
        assert len(storage.get(name)) == 1000
    assert crowded.most == 3


def test_an_object_larger_than_the_bound_is_got_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.storage.readahead._OBJECT_BYTES", 10)
    memory = MemoryStorage()
    names = filled(memory, size=1000)
    storage = ReadAheadStorage(memory)
    list(storage.list("log/"))
    assert [len(storage.get(name)) for name in names] == [1000] * COUNT


def test_without_a_listing_or_elsewhere_nothing_more_is_got_than_asked_for() -> None:
    memory = MemoryStorage()
    names = filled(memory)
    packs = filled(memory, "packs/ab/")
    counted = RecordingStorage(memory)
    storage = ReadAheadStorage(counted)
    storage.get(names[0])
    list(storage.list(""))
    list(storage.list("packs/"))
    storage.get(packs[0])
    storage.get(names[1])
    assert counted.names("get") == [names[0], packs[0], names[1]]


def test_what_appears_after_the_listing_is_seen() -> None:
    memory = MemoryStorage()
    names = filled(memory)
    storage = ReadAheadStorage(memory)
    list(storage.list("log/"))
    for name in names:
        storage.get(name)
    with pytest.raises(ObjectMissingError):
        storage.get("log/000000000061")
    memory.put("log/000000000061", [b"new"])
    assert storage.get("log/000000000061") == b"new"


def test_a_new_listing_voids_what_was_fetched_before_it() -> None:
    memory = MemoryStorage()
    names = filled(memory, "index/")
    storage = ReadAheadStorage(memory)
    list(storage.list("index/"))
    storage.get(names[0])
    memory.delete(names[1])
    list(storage.list("index/"))
    with pytest.raises(ObjectMissingError):
        storage.get(names[1])
    assert storage.get(names[2])


def test_what_was_deleted_here_is_gone_although_it_had_been_fetched() -> None:
    storage = ReadAheadStorage(MemoryStorage())
    for number in (1, 2, 3):
        storage.put(f"index/{number}", [b"x"])
    list(storage.list("index/"))
    storage.get("index/1")
    storage.delete("index/2")
    with pytest.raises(ObjectMissingError):
        storage.get("index/2")
    assert storage.get("index/3") == b"x"


def test_a_get_that_fails_fails_where_it_is_asked_for_and_may_be_asked_for_again() -> None:
    faulty = FaultyStorage(MemoryStorage())
    for number in (1, 2, 3):
        faulty.put(f"log/{number}", [b"%d" % number])
    faulty.unreadable["log/2"] = StorageError("log/2 cannot be read")
    storage = ReadAheadStorage(faulty)
    list(storage.list("log/"))
    assert storage.get("log/1") == b"1"
    with pytest.raises(StorageError, match="log/2"):
        storage.get("log/2")
    assert storage.get("log/3") == b"3"
    faulty.unreadable.clear()
    assert storage.get("log/2") == b"2"


def test_names_in_any_order_and_names_left_out_are_answered_right() -> None:
    class Shuffled(MemoryStorage):
        def list(self, prefix: str) -> Iterator[Stored]:
            return iter(list(super().list(prefix))[::-1])

    memory = Shuffled()
    names = filled(memory)
    storage = ReadAheadStorage(memory)
    list(storage.list("log/"))
    for number in (30, 3, 59, 31, 0, 58, 30):
        assert storage.get(names[number]) == bytes([number]) * 10


def test_a_repository_is_opened_by_no_more_gets_than_without_it() -> None:
    memory = MemoryStorage()
    made = create_repository(memory, b"x", cost=CHEAP)
    plain, ahead = RecordingStorage(memory), RecordingStorage(memory)
    assert open_repository(plain, b"x").id == made.id
    assert open_repository(ReadAheadStorage(ahead), b"x").id == made.id
    assert sorted(ahead.names("get")) == sorted(plain.names("get"))
