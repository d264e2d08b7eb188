"""A check beside writers: what it reports is damage, not the state of somebody's work."""

import random
from collections.abc import Callable, Iterator

import pytest

from holdfast.core.progress import Silence
from holdfast.repository import MemoryStorage
from holdfast.repository.storage.port import Stored
from tests.support.disks import whole
from tests.support.repositories import back_up_disks, new_repository, reopened


class Interleaved(MemoryStorage):
    """Somebody else's whole step happens right before one listing."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = 0
        self.step_at = -1
        self.step: Callable[[], object] = list

    def list(self, prefix: str) -> Iterator[Stored]:
        if self.listings == self.step_at:
            self.step_at = -1
            self.step()
        self.listings += 1
        return super().list(prefix)


@pytest.mark.parametrize("step_at", range(4))
def test_a_backup_that_commits_while_a_check_runs_is_no_damage(step_at: int) -> None:
    storage = Interleaved()
    repository = new_repository(storage)
    back_up_disks(repository, [whole(random.Random(1).randbytes(200_000))])
    other, content = reopened(repository), random.Random(2).randbytes(200_000)
    storage.listings, storage.step_at = 0, step_at
    storage.step = lambda: back_up_disks(other, [whole(content)])
    report = repository.check(Silence())
    assert report.damage == ()
    assert storage.step_at == -1 or storage.listings <= step_at, "the check made fewer listings than this"
