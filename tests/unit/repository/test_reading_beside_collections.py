"""Readers beside collections: blocks that moved are found where they are now, however often; what is gone is told."""

import random

import pytest

from holdfast.core.errors import ConflictError, DamagedError, DeniedError
from holdfast.core.point import RestorePoint
from holdfast.jobs.recover import recover_disk
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.explore.alone import run_here
from tests.support.collections import collect, purge
from tests.support.disks import ModelTarget, changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import FaultyStorage, Put
from tests.unit.jobs.memory import Watcher


@pytest.fixture(autouse=True)
def every_pack_is_worth_rewriting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 100_000)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)


def history(repository: Repository) -> list[tuple[RestorePoint, bytes]]:
    """Points of which each but the first shares its pack with what the next one changes."""
    chance = random.Random(1)
    content = chance.randbytes(300_000)
    made = [(back_up_disks(repository, [whole(content)]).point, content)]
    for at in (0, 60_000, 120_000):
        before = content
        content = content[:at] + chance.randbytes(50_000) + content[at + 50_000 :]
        made.append((back_up_disks(repository, [changed(content, before)], parent=made[-1][0]).point, content))
    return made


def test_a_reader_follows_blocks_that_move_again_and_again() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    *dying, (point, content) = history(repository)
    reader = reopened(repository)
    reader.records.load_index()
    disk = reader.open_disk(point.disks[0].root)
    rewritten = 0
    for doomed, _ in dying:
        purge(repository, doomed)
        rewritten += collect(repository).rewritten_bytes
        assert restored(reader, point) == content
    assert rewritten > 10_000, "nothing has moved"
    assert disk.read_all() == content


class Vanishing(FaultyStorage):
    """Right before an index object is fetched, a collection replaces it: once for each purge that is to come."""

    def __init__(self, repository: Repository, dying: list[RestorePoint]) -> None:
        super().__init__(repository.storage)
        self.repository = repository
        self.dying = dying

    def get(self, name: str) -> bytes:
        if name.startswith("index/") and self.dying:
            purge(self.repository, self.dying.pop(0))
            collect(self.repository)
        return super().get(name)


def test_index_objects_that_are_replaced_while_they_are_loaded_are_looked_for_again() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    *dying, (point, content) = history(repository)
    storage = Vanishing(repository, [doomed for doomed, _ in dying])
    assert restored(open_repository(storage, PASSPHRASE), point) == content
    assert storage.dying == []


def test_a_collection_looks_again_for_index_objects_that_another_has_replaced() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    *dying, (point, content) = history(repository)
    storage = Vanishing(repository, [doomed for doomed, _ in dying])
    collect(open_repository(storage, PASSPHRASE))
    assert storage.dying == []
    assert restored(reopened(repository), point) == content
    assert check(repository).ok


def refuse(put: Put) -> None:
    raise DeniedError(f"{put.name}: read-only")


def test_a_restore_whose_point_is_collected_ends_with_that_and_nothing_that_looks_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast.mover.restore.run_threads", run_here)  # else all may be read before the first write
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    (point, content), *others, _ = history(repository)
    storage = FaultyStorage(repository.storage)
    reader = open_repository(storage, PASSPHRASE)

    def at_write(_offset: int, _length: int) -> None:
        if point.id in repository.state().standings:
            purge(repository, point, *(other for other, _ in others))
            collect(repository)

    target = ModelTarget(len(content), at_write)
    with (
        storage.at_every_put("log/", refuse),
        pytest.raises(ConflictError) as caught,
    ):
        recover_disk(reader, point, point.disks[0], target, progress=Watcher())
    assert caught.value.code == "collected-meanwhile"
    assert target.abandoned
    assert not target.finished


def test_damage_is_not_taken_for_a_collection() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    (point, content), *_ = history(repository)
    storage = repository.storage
    assert isinstance(storage, MemoryStorage)
    for name in [name for name in storage.objects if name.startswith("packs/")]:
        storage.objects[name] = bytes(len(storage.objects[name]))
    with pytest.raises(DamagedError):
        recover_disk(reopened(repository), point, point.disks[0], ModelTarget(len(content)), progress=Watcher())
