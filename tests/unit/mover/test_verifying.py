"""What came out of a trial is kept with its point, and as long as it."""

import random

import pytest

from holdfast.core.errors import NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.core.verification import CheckOutcome, Verification
from holdfast.mover import keep_verification
from holdfast.repository import BlockMissingError, MemoryStorage, Repository
from tests.support.collections import collect, purge
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

CONTENT = random.Random(1).randbytes(200_000)
PICTURES = [random.Random(f"picture {number}").randbytes(50_000) for number in range(2)]
GOOD = CheckOutcome(name="agent", ok=True, detail="answered after 4.0 s")
BAD = CheckOutcome(name="port 80", ok=False, detail="nobody listens")


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStorage(), SMALL_CUT)


@pytest.fixture
def point(repository: Repository) -> RestorePoint:
    return back_up_disks(repository, [whole(CONTENT)]).point


def keep(repository: Repository, point: RestorePoint, *checks: CheckOutcome, picture: bytes | None = None) -> None:
    keep_verification(repository, point, checks, picture, Silence())


def kept(repository: Repository, point: RestorePoint) -> Verification:
    verification = reopened(repository).state().standings[point.id].verification
    assert verification is not None
    return verification


def picture_of(repository: Repository, point: RestorePoint) -> bytes:
    root = kept(repository, point).picture
    assert root is not None
    return reopened(repository).read_blob(root)


def test_the_last_trial_counts_and_is_good_if_all_that_was_looked_at_is(
    repository: Repository, point: RestorePoint
) -> None:
    keep(repository, point, GOOD, BAD)
    assert kept(repository, point).checks == (GOOD, BAD)
    assert not kept(repository, point).ok
    assert repository.state().proven == frozenset()
    keep(repository, point, GOOD)
    assert repository.state().proven == {point.id}
    keep(repository, point)
    assert repository.state().proven == frozenset()


def test_a_picture_lives_as_long_as_its_trial_is_the_last(repository: Repository, point: RestorePoint) -> None:
    keep(repository, point, GOOD, picture=PICTURES[0])
    first = kept(repository, point).picture
    collect(repository)
    assert picture_of(repository, point) == PICTURES[0]
    keep(repository, point, GOOD, picture=PICTURES[1])
    collect(repository)
    assert picture_of(repository, point) == PICTURES[1]
    assert first is not None
    with pytest.raises(BlockMissingError):
        reopened(repository).read_blob(first)
    assert check(repository).ok


def test_a_picture_that_is_lost_keeps_nobody_from_collecting(repository: Repository, point: RestorePoint) -> None:
    storage = repository.storage
    assert isinstance(storage, MemoryStorage)
    before = set(storage.objects)
    keep(repository, point, GOOD, picture=PICTURES[0])
    for name in storage.objects.keys() - before:
        if name.startswith("packs/"):
            storage.delete(name)
    other = back_up_disks(repository, [whole(bytes(reversed(CONTENT)))], machine="other").point
    purge(repository, other)
    assert collect(reopened(repository)).freed_bytes > 0
    assert restored(reopened(repository), point) == CONTENT


def test_of_a_point_that_was_purged_nothing_is_kept(repository: Repository, point: RestorePoint) -> None:
    purge(repository, point)
    for picture in (None, PICTURES[0]):
        with pytest.raises(NotFoundError, match="purged"):
            keep(repository, point, GOOD, picture=picture)
