"""Files that other programs leave in a repository."""

import pytest

from tests.support.disks import whole
from tests.support.repositories import back_up_disks, new_repository, reopened, restored


@pytest.mark.parametrize("name", ["log/.nfs0001", "log/000000000002~", "keys/1.bak", "index/README", "packs/ab/x", "x"])
def test_a_foreign_file_keeps_nobody_from_restoring_and_backing_up(name: str) -> None:
    repository = new_repository()
    content = b"holdfast " * 5000
    point = back_up_disks(repository, [whole(content)]).point
    repository.storage.put(name, [b"not ours"])
    again = reopened(repository)
    assert restored(again, point) == content
    back_up_disks(again, [whole(content)])
    assert len(reopened(again).points()) == 2
