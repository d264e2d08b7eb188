"""A backup, or another collection, happens whole at any moment of a collection: nothing that a point needs goes."""

import random
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.core.progress import Silence
from holdfast.core.verification import CheckOutcome
from holdfast.mover import keep_verification
from holdfast.repository import MemoryStorage, Repository, open_repository
from holdfast.repository.storage.port import Bytes, Stored
from tests.support.collections import collect, purge
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

FIRST = random.Random(1).randbytes(300_000)
SECOND = random.Random(2).randbytes(60_000) + FIRST[60_000:]
THIRD = SECOND[:120_000] + random.Random(3).randbytes(60_000) + SECOND[180_000:]
PICTURE = random.Random(4).randbytes(30_000) + FIRST[100_000:150_000]
"""In part what only a point that is purged needs."""


@pytest.fixture(autouse=True, params=[64, 2], ids=["small packs stay", "they are gathered"])
def small_packs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 100_000)
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_GATHERING", request.param)
    monkeypatch.setattr("holdfast.repository.collect.deleting._REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)


class Struck(MemoryStorage):
    """Right before one of its calls, somebody else's whole work happens."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects.update(objects)
        self.calls_left = -1
        self.strike: Callable[[], object] = list

    def get(self, name: str) -> bytes:
        self._count()
        return super().get(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        self._count()
        return super().list(prefix)

    def put(self, name: str, parts: "list[Bytes]", *, verify_share: float = 1.0) -> None:  # type: ignore[override]
        self._count()
        super().put(name, parts, verify_share=verify_share)

    def delete(self, *names: str) -> None:
        for name in names:
            self._count()
            super().delete(name)

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.strike()


def backup(other: Repository) -> None:
    back_up_disks(other, [whole(THIRD)], machine="new")


def collection(other: Repository) -> None:
    collect(other)


def trial(other: Repository) -> None:
    kept = next(point for point in other.points() if point.machine == "three")
    keep_verification(other, kept, [CheckOutcome(name="boot", ok=True)], PICTURE, Silence())


def purge_and_collection(other: Repository) -> None:
    purge(other, next(point for point in other.points() if point.machine == "two"))
    collect(other)


@pytest.mark.parametrize("strike", [backup, collection, trial, purge_and_collection])
def test_nothing_that_a_point_needs_goes(strike: Callable[[Repository], None]) -> None:
    prepared = new_repository(MemoryStorage(), SMALL_CUT)
    one = back_up_disks(prepared, [whole(FIRST)], machine="one").point
    back_up_disks(prepared, [whole(SECOND)], machine="two")
    back_up_disks(prepared, [whole(THIRD)], machine="three")
    purge(prepared, one)
    assert isinstance(prepared.storage, MemoryStorage)
    content = {"two": SECOND, "three": THIRD, "new": THIRD}
    for moment in count(1):
        storage = Struck(prepared.storage.objects)
        collecting, other = (open_repository(storage, PASSPHRASE) for _ in range(2))
        storage.strike, storage.calls_left = lambda other=other: strike(other), moment
        try:
            collecting.collector(Silence()).run()
        except HoldfastError as error:
            assert error.code == "conflict"
        struck, storage.calls_left = storage.calls_left <= 0, 0
        after = reopened(collecting)
        assert {point.machine for point in after.points()} >= {"three"}
        for point in after.points():
            assert restored(after, point) == content[point.machine], f"struck at call {moment}"
        for standing in after.state().standings.values():
            if standing.verification is not None:
                assert standing.verification.picture is not None
                assert after.read_blob(standing.verification.picture) == PICTURE, f"struck at call {moment}"
        assert check(after).ok, f"struck at call {moment}"
        if not struck:
            assert moment > 20
            return
