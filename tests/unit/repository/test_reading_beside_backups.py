"""Readers beside writers: a point that is younger than the index in memory reads like any other."""

import threading
from collections.abc import Iterator

from holdfast.core.progress import Silence
from holdfast.mover import back_up
from holdfast.repository import KdfCost, MemoryStorage, create_repository, open_repository
from holdfast.repository.index import Index, Place
from holdfast.repository.storage.port import Stored
from tests.format.machines import Disk, Machine

PASSPHRASE = b"passphrase"


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
    repository = create_repository(storage, PASSPHRASE, cost=KdfCost(memory_kib=64, iterations=1, lanes=1))
    reader = open_repository(storage, PASSPHRASE)
    reader.records.index = index = Watched()
    disk = Disk(name="vda", size_bytes=100_000)
    disk.write_blocks(0, b"holdfast " * 10_000)
    machine = Machine(machine="m", disks=[disk])
    root = back_up(machine, repository, parent=None, progress=Silence()).point.disks[0].root

    storage.may_list.clear()
    storage.listing.clear()
    loading = threading.Thread(target=reader.records.load_index)
    loading.start()
    assert storage.listing.wait(10)
    content: list[bytes] = []
    reading = threading.Thread(target=lambda: content.append(reader.open_disk(root).read_all()))
    reading.start()
    assert index.looked.wait(10)
    storage.may_list.set()
    loading.join(10)
    reading.join(10)
    assert content == [disk.content(0, disk.size_bytes)]
