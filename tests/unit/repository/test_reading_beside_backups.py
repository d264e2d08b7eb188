"""Readers beside writers: a point that is younger than the index in memory reads like any other."""

import threading
from collections.abc import Iterator

from holdfast.repository import MemoryStorage
from holdfast.repository.index import Index, Place
from holdfast.repository.storage.port import Stored
from tests.support.disks import whole
from tests.support.repositories import back_up_disks, new_repository, reopened


class Held(MemoryStorage):
    """Listings of the index wait while a test holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.may_list = threading.Event()
        self.may_list.set()
        self.listing = threading.Event()

    def list(self, prefix: str) -> Iterator[Stored]:
        if prefix == "index/":
            self.listing.set()
            assert self.may_list.wait(10)
        return super().list(prefix)


class Watched(Index):
    """Tells when somebody has looked for an id."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Event()

    def copies(self, wanted: bytes) -> list[Place]:
        found = super().copies(wanted)
        self.looked.set()
        return found


def test_a_reader_that_misses_while_another_thread_loads_the_index_looks_again() -> None:
    storage = Held()
    repository = new_repository(storage)
    reader = reopened(repository)
    reader.records.index = index = Watched()
    content = b"holdfast " * 10_000
    root = back_up_disks(repository, [whole(content)]).point.disks[0].root

    storage.may_list.clear()
    storage.listing.clear()
    loading = threading.Thread(target=reader.records.load_index)
    loading.start()
    assert storage.listing.wait(10)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(reader.open_disk(root).read_all()))
    reading.start()
    assert index.looked.wait(10)
    storage.may_list.set()
    loading.join(10)
    reading.join(10)
    assert found == [content]
