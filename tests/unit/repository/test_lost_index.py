"""The index can be lost: the packs' own tables say the same."""

import random
from contextlib import closing

import pytest

from holdfast.core.errors import DamagedError
from holdfast.repository import BlockMissingError, MemoryStorage, open_repository
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, check, new_repository, reopened, restored


def names(storage: MemoryStorage, prefix: str) -> list[str]:
    return [stored.name for stored in storage.list(prefix)]


def test_points_restore_without_any_index_object(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    contents = [random.Random(seed).randbytes(300_000) for seed in range(2)]
    points = [back_up_disks(repository, [whole(content)]).point for content in contents]
    for name in names(storage, "index/"):
        del storage.objects[name]
    for point, content in zip(points, contents, strict=True):
        assert restored(reopened(repository), point) == content


def test_a_damaged_index_object_beside_a_damaged_pack_costs_that_pack_alone(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    content = random.Random(1).randbytes(300_000)
    point = back_up_disks(repository, [whole(content)]).point
    for name in names(storage, "index/"):
        storage.objects[name] = storage.objects[name][:-1]
    storage.objects["packs/00/damaged"] = b"no pack"
    assert restored(reopened(repository), point) == content


def test_a_writer_never_relies_on_a_pack_that_is_not_listed_yet(storage: MemoryStorage) -> None:
    """A reader of its process may have looked into the packs of a writer elsewhere, which may yet come to nothing."""
    content = random.Random(1).randbytes(300_000)
    elsewhere, here = new_repository(storage), open_repository(storage, PASSPHRASE)
    with closing(elsewhere.begin()) as attempt:
        buffer = memoryview(bytearray(content + bytes(-len(content) % 4096)))
        with attempt.lane() as lane:
            lane.store(buffer, elsewhere.cutter.cut(elsewhere.cutter.words(buffer)), None)
        attempt.uploader._waiting.join()
        assert names(storage, "packs/")
        with pytest.raises(BlockMissingError):
            here.records.read(bytes(32), here.keys.data_id_key)
        outcome = back_up_disks(here, [whole(content)])
    assert outcome.sent_bytes >= len(content)
    assert check(here).ok


def test_a_backup_beside_a_damaged_index_object_stores_and_lists_what_it_needs(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    content = random.Random(1).randbytes(300_000)
    older = back_up_disks(repository, [whole(content)]).point
    (damaged,) = names(storage, "index/")
    storage.objects[damaged] = storage.objects[damaged][:-1]
    point = back_up_disks(reopened(repository), [whole(content)]).point
    assert restored(reopened(repository), point) == restored(reopened(repository), older) == content
    del storage.objects[damaged]
    assert restored(reopened(repository), point) == restored(reopened(repository), older) == content
    assert check(repository).ok, "all that the points need is listed again"


def test_a_lost_pack_is_an_error_that_names_the_disk_and_the_block(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    point = back_up_disks(repository, [whole(b"holdfast " * 5000)]).point
    for name in names(storage, "packs/"):
        del storage.objects[name]
    with pytest.raises(DamagedError, match=r"disk vda.*no good copy of block"):
        restored(reopened(repository), point)
