"""A check beside writers: what it reports is damage, not the state of somebody's work."""

import random
from collections.abc import Callable, Iterator

import pytest

from holdfast.core.progress import Silence
from holdfast.mover import back_up
from holdfast.repository import KdfCost, MemoryStorage, Repository, create_repository, open_repository
from holdfast.repository.storage.port import Stored
from tests.format.machines import Disk, Machine

PASSPHRASE = b"passphrase"


class Interleaved(MemoryStorage):
    """Somebody else's whole step happens right before or after one listing."""

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


def a_backup(repository: Repository, seed: int) -> None:
    disk = Disk(name="vda", size_bytes=200_000)
    disk.write_blocks(0, random.Random(seed).randbytes(200_000))
    back_up(Machine(machine=str(seed), disks=[disk]), repository, parent=None, progress=Silence())


@pytest.mark.parametrize("step_at", range(4))
def test_a_backup_that_commits_while_a_check_runs_is_no_damage(step_at: int) -> None:
    storage = Interleaved()
    repository = create_repository(storage, PASSPHRASE, cost=KdfCost(memory_kib=64, iterations=1, lanes=1))
    a_backup(repository, 1)
    other = open_repository(storage, PASSPHRASE)
    storage.listings, storage.step_at, storage.step = 0, step_at, lambda: a_backup(other, 2)
    report = repository.check(Silence())
    assert report.damage == ()
    assert storage.step_at == -1 or storage.listings <= step_at, "the check made fewer listings than this"
