"""The index can be lost: the packs' own tables say the same."""

import random

import pytest

from holdfast.core.errors import DamagedError
from holdfast.repository import MemoryStorage
from tests.support.disks import whole
from tests.support.repositories import back_up_disks, new_repository, reopened, restored


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


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


def test_a_lost_pack_is_an_error_that_names_the_disk_and_the_block(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    point = back_up_disks(repository, [whole(b"holdfast " * 5000)]).point
    for name in names(storage, "packs/"):
        del storage.objects[name]
    with pytest.raises(DamagedError, match=r"disk vda.*no good copy of block"):
        restored(reopened(repository), point)
