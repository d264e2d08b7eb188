"""The index is made anew in the middle of a backup: what is marked or lost still counts for nothing."""

import random
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import Care, back_up
from holdfast.repository import MemoryStorage, Repository, open_repository
from holdfast.repository.packs import DATA
from holdfast.repository.runs import Columns, counts_of
from tests.support.disks import ModelCapture, changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository, restored

REGION = SMALL_CUT.region_bytes
WEB = random.Random(1).randbytes(300 * REGION)
DB = random.Random(2).randbytes(40 * REGION)
WEB_LATER = WEB[: REGION * 3] + random.Random(3).randbytes(4096) + WEB[REGION * 3 + 4096 :]


class World:
    """The repository of two machines as processes see it that share a cache; `lost` is the other machine's pack."""

    def __init__(self, cache: Path) -> None:
        self.storage = MemoryStorage()
        self.cache = cache
        new_repository(self.storage, SMALL_CUT)
        back_up_disks(self.opened(), [whole(DB, "vdb")], machine="db")
        repository = self.opened()
        repository.records.load_index()
        (self.lost,) = (pack for pack in repository.records.index.packs if pack.header.type == DATA)

    def opened(self) -> Repository:
        return open_repository(self.storage, PASSPHRASE, self.cache)

    def protect_web(self) -> RestorePoint:
        point = back_up_disks(self.opened(), [whole(WEB)], machine="web").point
        self.opened().records.load_index()
        return point

    def rot(self, name: str, offset: int) -> None:
        blob = bytearray(self.storage.objects[name])
        blob[offset + 3] ^= 1
        self.storage.objects[name] = bytes(blob)

    def mark_lost(self) -> None:
        for offset in self.lost.table.records["offset"].tolist():
            self.rot(self.lost.object, offset)
        repository = self.opened()
        repository.mark(repository.check(Silence()).marks)

    def protect_web_with_a_second_disk(self, parent: RestorePoint) -> None:
        """The disk that is added holds what the other machine's held."""
        capture = ModelCapture(machine="web", disks=[changed(WEB_LATER, WEB), whole(DB, "vdb")])
        care = Care(proof_rounds=0)
        point = back_up(capture, self.opened(), parent=parent, care=care, progress=Silence()).point
        assert restored(self.opened(), point, "vda") == WEB_LATER
        assert restored(self.opened(), point, "vdb") == DB


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    monkeypatch.setattr("random.shuffle", lambda _: None)  # leaf 3 lies in a record without pages
    return World(tmp_path)


def test_since_a_leaf_has_rotted(world: World) -> None:
    world.mark_lost()
    parent = world.protect_web()
    repository = world.opened()
    repository.records.load_index()
    (row,) = repository.open_disk(parent.disks[0].root).leaves_at([3])
    assert row.leaf
    (place,) = repository.records.index.copies(row.leaf)
    pack = repository.records.index.packs[place.pack]
    world.rot(pack.object, int(pack.table.records[pack.table.record_of(place.segment)]["offset"]))
    world.protect_web_with_a_second_disk(parent)


def test_since_a_file_of_the_cache_is_torn(world: World) -> None:
    world.mark_lost()
    parent = world.protect_web()
    torn = list(world.cache.rglob("*.run"))
    for path in torn:
        blob = bytearray(path.read_bytes())
        columns = Columns(counts_of(bytes(blob), bytes.fromhex(world.opened().id)))
        blob[columns.rows : columns.end] = bytes(columns.end - columns.rows)
        path.chmod(0o600)
        path.write_bytes(blob)
    assert torn
    world.protect_web_with_a_second_disk(parent)


def test_by_somebody_else_in_the_same_process(world: World) -> None:
    world.protect_web()
    del world.storage.objects[world.lost.object]
    repository = world.opened()
    missed = []

    def miss(_offset: int, _length: int) -> None:
        if not missed:
            with pytest.raises(DamagedError) as caught:
                repository.records.read(bytes(range(32)), repository.keys.node_id_key)
            missed.append(caught.value)

    capture = ModelCapture(machine="app", disks=[whole(DB, "vdb", fault=miss)])
    point = back_up(capture, repository, parent=None, progress=Silence()).point
    assert restored(world.opened(), point, "vdb") == DB
