"""Backups of one process that meet the same content at the same time: stored once if all goes well, and always."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent
from holdfast.core.ports import BlockReader
from holdfast.repository import MemoryStorage, Repository
from tests.support.disks import CapturedModel, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import FaultyStorage

REGION = SMALL_CUT.region_bytes
CONTENT = random.Random(1).randbytes(REGION)
OTHER = random.Random(2).randbytes(REGION)


@pytest.fixture
def repository() -> Repository:
    return new_repository(None, SMALL_CUT)


@contextmanager
def claimed(repository: Repository, content: bytes) -> Iterator[threading.Event]:
    """Within, a sibling has claimed all of a region and sits on it, until the event is set: then it gives up."""
    give_up = threading.Event()
    has_claimed = threading.Event()

    def sit() -> None:
        with closing(repository.begin()) as attempt:
            lane = attempt.lane()
            buffer = memoryview(bytearray(content))
            lane.store(buffer, repository.cutter.cut(repository.cutter.words(buffer)), None)
            has_claimed.set()
            give_up.wait()

    sibling = threading.Thread(target=sit)
    sibling.start()
    has_claimed.wait()
    try:
        yield give_up
    finally:
        give_up.set()
        sibling.join()


def later(event: threading.Event, seconds: float) -> None:
    timer = threading.Timer(seconds, event.set)
    timer.start()


def test_what_a_sibling_promised_and_did_not_bring_is_stored_again(repository: Repository) -> None:
    with claimed(repository, CONTENT) as give_up:
        began = time.monotonic()
        later(give_up, 0.3)
        outcome = back_up_disks(repository, [whole(CONTENT)])
        assert 0.2 < time.monotonic() - began < 10
    assert outcome.sent_bytes == len(CONTENT)
    assert outcome.read_bytes == 2 * len(CONTENT)
    assert restored(reopened(repository), outcome.point) == CONTENT
    assert check(repository).ok


def test_nobody_waits_for_ever_for_a_sibling_that_does_not_come(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.sharing._SIBLING_PATIENCE_S", 0.2)
    with claimed(repository, CONTENT):
        outcome = back_up_disks(repository, [whole(CONTENT)])
        assert restored(reopened(repository), outcome.point) == CONTENT


def test_nobody_waits_for_a_sibling_that_has_brought_what_it_promised(repository: Repository) -> None:
    """It may have hours of other work to do."""
    region_is_stored, go_on = threading.Event(), threading.Event()

    def slow(offset: int, length: int) -> None:
        if offset >= REGION:
            region_is_stored.set()
            go_on.wait()

    # Two lanes must not share the work here: the first region is stored and listed before the second is read.
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        patch.setattr("holdfast.repository.packing.PACK_BYTES", 1)
        patch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 1)
        slow_backup = pool.submit(back_up_disks, repository, [whole(CONTENT + OTHER, fault=slow)], machine="slow")
        try:
            region_is_stored.wait()
            began = time.monotonic()
            outcome = back_up_disks(repository, [whole(CONTENT)])
            seconds = time.monotonic() - began
        finally:
            go_on.set()
        assert seconds < 5
        assert outcome.sent_bytes == 0
        assert restored(reopened(repository), outcome.point) == CONTENT
        assert restored(reopened(repository), slow_backup.result().point) == CONTENT + OTHER


class Fickle:
    """A reader of a source that has changed when it is read again, as a block device in use may."""

    def __init__(self) -> None:
        self.reads = 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        source = CONTENT if self.reads == 0 else OTHER
        self.reads += 1
        buffer[:] = source[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


class FickleDisk(CapturedModel):
    reader = Fickle()

    def open_reader(self) -> BlockReader:
        return self.reader


def test_a_region_that_is_read_again_and_differs_makes_a_whole_point_all_the_same(repository: Repository) -> None:
    disk = FickleDisk(name="vda", content=CONTENT, held=[Extent(0, REGION)])
    with claimed(repository, CONTENT) as give_up:
        later(give_up, 0.2)
        point = back_up_disks(repository, [disk]).point
    assert disk.reader.reads == 2
    assert restored(reopened(repository), point) == OTHER
    assert check(repository).ok


def test_what_is_relied_on_is_forgotten_as_it_comes_home(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second of two equal machines would hold an entry for every segment it has."""
    monkeypatch.setattr("holdfast.repository.claims._PROMISES", 8)
    with closing(repository.begin()) as first, closing(repository.begin()) as second:
        for number in range(60):
            content = memoryview(bytearray(random.Random(number).randbytes(4096)))
            pieces = repository.cutter.cut(repository.cutter.words(content))
            with first.lane() as lane:
                named = lane.store(content, pieces, None)
                assert second.missing(named, number) == []
            first.uploader.drain()
            assert len(second._sharing._promises.ids()) <= 9
        assert second._sharing._promises.ids()
        assert second.flush() == set()


def test_two_that_rely_on_each_other_both_end(repository: Repository) -> None:
    """Each has claimed what the other needs next."""
    halfway = threading.Barrier(2)

    def meet(offset: int, length: int) -> None:
        if offset >= REGION:
            halfway.wait(20)

    contents = [CONTENT + OTHER, OTHER + CONTENT]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        began = time.monotonic()
        backups = [
            pool.submit(back_up_disks, repository, [whole(content, fault=meet)], machine=f"m{number}")
            for number, content in enumerate(contents)
        ]
        outcomes = [backup.result(30) for backup in backups]
        assert time.monotonic() - began < 10
    assert sum(outcome.sent_bytes for outcome in outcomes) == 2 * REGION
    for outcome, content in zip(outcomes, contents, strict=True):
        assert restored(reopened(repository), outcome.point) == content


def test_the_same_content_of_many_machines_at_once_is_stored_about_once(repository: Repository) -> None:
    content = random.Random(3).randbytes(30 * REGION)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(
            pool.map(lambda number: back_up_disks(repository, [whole(content)], machine=f"m{number}"), range(6))
        )
    assert sum(outcome.sent_bytes for outcome in outcomes) < 1.2 * len(content)
    assert len(reopened(repository).points()) == 6
    stranger = reopened(repository)
    assert all(restored(stranger, outcome.point) == content for outcome in outcomes)


@pytest.mark.parametrize("seed", range(6))
def test_many_backups_at_once_of_which_some_fail_are_each_exact_or_absent(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 60_000)
    monkeypatch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 3)
    monkeypatch.setattr("holdfast.repository.sharing._SIBLING_PATIENCE_S", 0.5)
    chance = random.Random(seed)
    repository = new_repository(FaultyStorage(MemoryStorage()), SMALL_CUT)
    pieces = [random.Random(number).randbytes(REGION) for number in range(10)]
    contents = [b"".join(chance.choices(pieces, k=12)) for _ in range(12)]
    doomed = set(chance.sample(range(12), 4))

    def protect(number: int) -> bool:
        pause = random.Random(number)

        def fault(offset: int, length: int) -> None:
            time.sleep(pause.random() * 0.004)
            if number in doomed and offset > 6 * REGION:
                raise FailedError("the source is gone")

        def confirm() -> None:
            if number in doomed:
                raise FailedError("the source has changed")

        try:
            back_up_disks(repository, [whole(contents[number], fault=fault)], machine=f"m{number}", at_confirm=confirm)
        except FailedError:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        succeeded = list(pool.map(protect, range(12), timeout=120))
    assert {number for number, success in enumerate(succeeded) if not success} == doomed
    stranger = reopened(repository)
    points = {point.machine: point for point in stranger.points()}
    assert points.keys() == {f"m{number}" for number in range(12) if number not in doomed}
    for machine, point in points.items():
        assert restored(stranger, point) == contents[int(machine[1:])]
    assert check(repository).ok
    assert not repository.records.index.copies(bytes(32))
    assert repository._claims._owners == {}, "claims are left that nobody will ever redeem"
