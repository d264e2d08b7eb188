"""What every storage promises, and the repository rests on. Each implementation's tests subclass this."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.core.errors import NotFoundError
from holdfast.repository import Storage
from holdfast.repository.storage.port import ObjectExistsError, ObjectMissingError, StorageError

RACERS = 12


class StorageContract:
    """Subclasses give `storage`, empty."""

    def test_what_is_put_is_there_whole(self, storage: Storage) -> None:
        storage.put("packs/ab/abcd", [b"one", bytearray(b"two"), memoryview(b"three")])
        assert storage.get("packs/ab/abcd") == b"onetwothree"
        assert storage.size("packs/ab/abcd") == 11

    @pytest.mark.parametrize("parts", [[], [b""], [b"", b"", b"x", b""]])
    def test_empty_parts_and_empty_objects_are_objects_too(self, storage: Storage, parts: list[bytes]) -> None:
        storage.put("index/1", parts)
        assert storage.get("index/1") == b"".join(parts)

    def test_a_thousand_parts_are_one_object(self, storage: Storage) -> None:
        parts = [bytes([number % 251]) * number for number in range(1500)]
        storage.put("packs/00/many", parts)
        assert storage.get("packs/00/many") == b"".join(parts)

    @pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
    def test_whatever_share_is_read_back_the_object_is_whole(self, storage: Storage, share: float) -> None:
        content = bytes(range(256)) * 5000
        storage.put("packs/00/large", [content[:777], content[777:]], verify_share=share)
        assert storage.get("packs/00/large") == content

    def test_the_same_bytes_again_are_no_error(self, storage: Storage) -> None:
        storage.put("log/1", [b"same"])
        storage.put("log/1", [b"sa", b"me"])
        assert storage.get("log/1") == b"same"

    @pytest.mark.parametrize("others", [b"other", b"", b"first and more", b"firs"])
    def test_other_bytes_under_a_name_are_refused_and_change_nothing(self, storage: Storage, others: bytes) -> None:
        storage.put("log/1", [b"first"])
        with pytest.raises(ObjectExistsError, match="log/1"):
            storage.put("log/1", [others])
        assert storage.get("log/1") == b"first"

    @pytest.mark.parametrize("name", ["log/2", "log/1/2", "nothing", "log/1 "])
    def test_what_nobody_put_is_missing_by_name(self, storage: Storage, name: str) -> None:
        storage.put("log/1", [b"x"])
        with pytest.raises(ObjectMissingError, match=name):
            storage.get(name)
        with pytest.raises(ObjectMissingError, match=name):
            storage.size(name)
        with pytest.raises(NotFoundError, match=name):
            storage.read_into(name, 0, memoryview(bytearray(1)))

    def test_any_range_is_read(self, storage: Storage) -> None:
        content = bytes(range(256)) * 40
        storage.put("packs/00/x", [content])
        end = len(content)
        for offset, length in ((0, 0), (0, 1), (0, end), (5000, 300), (end, 0), (end - 1, 1)):
            buffer = bytearray(length)
            storage.read_into("packs/00/x", offset, memoryview(buffer))
            assert buffer == content[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (5000, 1), (1 << 40, 1)])
    def test_a_range_past_the_end_is_an_error_and_never_short(self, storage: Storage, offset: int, length: int) -> None:
        storage.put("packs/00/x", [b"0123456789"])
        with pytest.raises(StorageError, match="packs/00/x"):
            storage.read_into("packs/00/x", offset, memoryview(bytearray(length)))

    def test_a_listing_shows_names_and_sizes_below_a_prefix(self, storage: Storage) -> None:
        for name in ("config", "log/1", "log/2", "packs/ab/1", "packs/cd/2"):
            storage.put(name, [name.encode() * 3])
        assert sorted(storage.list("log/")) == [("log/1", 15), ("log/2", 15)]
        assert sorted(storage.list("packs/")) == [("packs/ab/1", 30), ("packs/cd/2", 30)]
        assert [stored.name for stored in storage.list("packs/ab/")] == ["packs/ab/1"]
        assert list(storage.list("index/")) == []
        names = sorted(stored.name for stored in storage.list(""))
        assert names == ["config", "log/1", "log/2", "packs/ab/1", "packs/cd/2"]

    def test_what_is_deleted_is_gone_and_nothing_else(self, storage: Storage) -> None:
        for name in ("packs/ab/1", "packs/ab/2"):
            storage.put(name, [b"x"])
        storage.delete("packs/ab/1")
        with pytest.raises(ObjectMissingError, match="packs/ab/1"):
            storage.get("packs/ab/1")
        assert [stored.name for stored in storage.list("packs/")] == ["packs/ab/2"]
        assert storage.get("packs/ab/2") == b"x"

    def test_many_go_at_once_whether_they_are_there_or_not(self, storage: Storage) -> None:
        names = [f"packs/{number % 7:02x}/{number}" for number in range(1100)]
        for name in names[::50]:
            storage.put(name, [b"x"])
        storage.put("packs/ff/stays", [b"x"])
        storage.delete(*names)
        assert [stored.name for stored in storage.list("packs/")] == ["packs/ff/stays"]
        storage.delete()

    @pytest.mark.parametrize("name", ["log/2", "log/1/2", "nothing/at/all", "log/1 "])
    def test_deleting_what_is_not_there_is_no_error(self, storage: Storage, name: str) -> None:
        storage.put("log/1", [b"x"])
        storage.delete(name)
        storage.delete(name)
        assert [stored.name for stored in storage.list("")] == ["log/1"]

    def test_what_is_deleted_while_it_is_listed_fails_nobody(self, storage: Storage) -> None:
        names = {f"packs/ab/{number}" for number in range(50)}
        for name in names:
            storage.put(name, [b"content"])
        listing = storage.list("packs/")
        first = next(listing).name
        for name in names - {first}:
            storage.delete(name)
        assert {stored.name for stored in listing} <= names
        assert [stored.name for stored in storage.list("packs/")] == [first]

    def test_a_deleted_name_can_be_put_again(self, storage: Storage) -> None:
        storage.put("index/1", [b"first"])
        storage.delete("index/1")
        storage.put("index/1", [b"other"])
        assert storage.get("index/1") == b"other"

    def test_of_many_racers_for_a_name_one_wins_and_all_see_its_bytes(self, storage: Storage) -> None:
        for number in range(20):
            name = f"log/{number:012}"
            start = threading.Barrier(RACERS)

            def race(racer: int, name: str = name, start: threading.Barrier = start) -> bytes | None:
                mine = b"racer %d " % racer * 500
                start.wait()
                try:
                    storage.put(name, [mine])
                except ObjectExistsError:
                    return None
                assert storage.get(name) == mine
                return mine

            with ThreadPoolExecutor(RACERS) as racers:
                outcomes = list(racers.map(race, range(RACERS)))
            winners = [content for content in outcomes if content is not None]
            assert winners == [storage.get(name)]

    def test_racers_with_the_same_bytes_all_succeed(self, storage: Storage) -> None:
        start = threading.Barrier(RACERS)

        def race(_: int) -> None:
            start.wait()
            storage.put("packs/00/same", [b"same" * 10_000])

        with ThreadPoolExecutor(RACERS) as racers:
            list(racers.map(race, range(RACERS)))
        assert storage.get("packs/00/same") == b"same" * 10_000

    def test_a_listing_beside_writers_neither_fails_nor_shows_halves(self, storage: Storage) -> None:
        done = threading.Event()

        def write() -> None:
            for number in range(60):
                storage.put(f"packs/{number % 8:02}/{number}", [bytes(50_000)])
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = 0
            while not done.is_set():
                listed = list(storage.list(""))
                assert {stored.size for stored in listed} <= {50_000}
                assert len(listed) >= seen
                seen = len(listed)
        finally:
            writer.join()
        assert len(list(storage.list(""))) == 60
