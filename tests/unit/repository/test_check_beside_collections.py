"""A check beside collections: what they move and delete is no damage, at whatever moment they do."""

import random
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import CheckScope, MemoryStorage, Repository, open_repository
from holdfast.repository.storage.port import Stored
from tests.support.collections import collect, purge
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 100_000)
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)


class Struck(MemoryStorage):
    """Right before one of the calls that read, somebody else's whole work happens."""

    def __init__(self) -> None:
        super().__init__()
        self.calls_left = -1
        self.strike: Callable[[], object] = list

    def get(self, name: str) -> bytes:
        self._count()
        return super().get(name)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._count()
        super().read_into(name, offset, buffer)

    def list(self, prefix: str) -> Iterator[Stored]:
        self._count()
        return super().list(prefix)

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.strike()


def purged_on_demand(storage: MemoryStorage) -> tuple[Repository, RestorePoint]:
    """A repository, and a point of it whose deletion makes a collection delete packs and move blocks of others."""
    repository = new_repository(storage, SMALL_CUT)
    first = random.Random(1).randbytes(250_000)
    second = random.Random(2).randbytes(40_000) + first[40_000:]
    third = second[:90_000] + random.Random(3).randbytes(40_000) + second[130_000:]
    one = back_up_disks(repository, [whole(first)]).point
    two = back_up_disks(repository, [changed(second, first)], parent=one).point
    back_up_disks(repository, [changed(third, second)], parent=two)
    purge(repository, one)
    return repository, two


@pytest.mark.parametrize("level", ["structure", "full"])
def test_a_collection_at_any_moment_of_a_check_is_no_damage(level: str) -> None:
    prepared = MemoryStorage()
    _, two = purged_on_demand(prepared)
    for moment in count(1):
        storage = Struck()
        storage.objects.update(prepared.objects)
        checked, other = open_repository(storage, PASSPHRASE), open_repository(storage, PASSPHRASE)

        def strike(other: Repository = other) -> None:
            purge(other, two)
            assert collect(other).rewritten_bytes > 0

        storage.strike, storage.calls_left = strike, moment
        report = checked.check(Silence(), CheckScope(level=level))  # type: ignore[arg-type]
        if storage.calls_left > 0:
            assert moment > 20
            return
        assert report.damage == (), f"a collection at call {moment}"


def test_damage_beside_a_collection_is_still_damage() -> None:
    storage = Struck()
    repository, _ = purged_on_demand(storage)
    wanted = max(
        (name for name in storage.objects if name.startswith("packs/")), key=lambda name: len(storage.objects[name])
    )
    storage.objects[wanted] = bytes(len(storage.objects[wanted]))
    report = repository.check(Silence())
    assert wanted in {damage.object for damage in report.damage}
