"""When source, target, storage or user end the work: nothing is committed, and nothing keeps running."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import pytest

from holdfast.core.errors import DamagedError, FailedError, FullError, HoldfastError
from holdfast.core.extents import Extent
from holdfast.core.progress import Silence
from holdfast.mover import restore_disk
from holdfast.mover.pool import Shared, run_threads, worker_count
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.storage.port import StorageError
from tests.support.disks import CapturedModel, ModelTarget, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import Fault, FaultyStorage, Put, failing, failing_after_it_happened, full

CONTENT = random.Random(1).randbytes(2_000_000)
OTHER = random.Random(2).randbytes(2_000_000)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does to the work, its threads have ended when the work has."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(0.2)  # it may be on its way out
        assert not thread.is_alive(), f"{thread.name} is left"


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


@pytest.fixture
def repository(storage: FaultyStorage) -> Repository:
    return new_repository(storage, SMALL_CUT)


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 100_000)


class Countdown:
    """A fault that strikes at the n-th read or write, of whatever thread."""

    def __init__(self, number: int, error: BaseException) -> None:
        self._left = number
        self._error = error
        self._lock = threading.Lock()
        self.struck = False

    def __call__(self, offset: int, length: int) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.struck = True
                raise self._error


def require_nothing_happened(repository: Repository, points: int = 0) -> None:
    assert len(reopened(repository).points()) == points
    assert check(repository).ok
    point = back_up_disks(repository, [whole(CONTENT)]).point
    assert restored(reopened(repository), point) == CONTENT
    assert check(repository).ok


# --- backups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 9, 20])
def test_a_source_that_cannot_be_read_ends_the_backup_without_a_point(
    repository: Repository, number: int, small_packs: None
) -> None:
    fault = Countdown(number, FailedError("vda: cannot read at 5: Input/output error"))
    with pytest.raises(FailedError, match="Input/output error"):
        back_up_disks(repository, [whole(CONTENT, fault=fault)])
    assert fault.struck
    require_nothing_happened(repository)


def test_so_does_anything_else_that_a_source_may_raise(repository: Repository) -> None:
    with pytest.raises(ZeroDivisionError):
        back_up_disks(repository, [whole(CONTENT, fault=Countdown(3, ZeroDivisionError("a bug")))])
    require_nothing_happened(repository)


@pytest.mark.parametrize("error", [FailedError("changed"), KeyboardInterrupt()])
def test_a_capture_that_does_not_confirm_ends_in_no_point(repository: Repository, error: BaseException) -> None:
    def deny() -> None:
        raise error

    with pytest.raises(type(error)):
        back_up_disks(repository, [whole(CONTENT)], at_confirm=deny)
    require_nothing_happened(repository)


def test_a_capture_that_contradicts_itself_is_refused(repository: Repository) -> None:
    disk = CapturedModel(name="vda", content=b"x" * 5000, held=[Extent(0, 9000)])
    with pytest.raises(FailedError, match="claims data at byte 9000, but is 5000 bytes long"):
        back_up_disks(repository, [disk])
    require_nothing_happened(repository)


@pytest.mark.parametrize("folder", ["index/", "packs/"])
def test_a_storage_that_cannot_be_listed_ends_the_backup_before_it_begins(
    repository: Repository, storage: FaultyStorage, folder: str
) -> None:
    storage.unlistable[folder] = StorageError(f"{folder}: Input/output error")
    with pytest.raises(StorageError, match="Input/output error"):
        back_up_disks(repository, [whole(CONTENT)])
    storage.unlistable.clear()
    require_nothing_happened(repository)


@pytest.mark.parametrize("prefix", ["packs/", "index/", "log/"])
@pytest.mark.parametrize("fault", [full, failing])
def test_a_storage_that_takes_no_more_ends_the_backup_without_a_point(
    repository: Repository, storage: FaultyStorage, prefix: str, fault: Fault, small_packs: None
) -> None:
    """However many packs are still to come: nobody waits for an uploader that has given up."""
    kind = FullError if fault is full else StorageError
    made = len(storage.puts)
    with storage.at_every_put(prefix, fault), pytest.raises(kind):
        back_up_disks(repository, [whole(CONTENT)])
    refused = [name for name in storage.puts[made:] if name.startswith(prefix)]
    assert len(refused) == (3 if prefix == "log/" else 1), "it was asked again and again"
    require_nothing_happened(repository)


def test_after_a_failed_upload_nothing_more_is_stored_and_soon_nothing_read(
    repository: Repository, storage: FaultyStorage, small_packs: None
) -> None:
    reads: list[int] = []

    def fault(put: Put) -> None:
        time.sleep(0.3)  # so that other packs are waiting
        full(put)

    disk = whole(CONTENT, fault=lambda offset, length: reads.append(offset))
    made = len(storage.puts)
    with storage.at_every_put("packs/", fault), pytest.raises(FullError):
        back_up_disks(repository, [disk])
    assert len(storage.puts) == made + 1
    regions_a_pack = 2
    packs_under_way = 2 * worker_count() + 2  # handed over and then open in each lane, queued, being put
    assert len(reads) <= regions_a_pack * packs_under_way < len(CONTENT) // SMALL_CUT.region_bytes


def failure_of(work: Callable[[], object]) -> HoldfastError | None:
    """What the work raises, if anything."""
    try:
        work()
    except HoldfastError as failure:
        return failure
    return None


@pytest.mark.parametrize("fault", [full, failing])
def test_a_put_that_fails_anywhere_fails_the_backup_unless_it_can_be_sent_again(
    fault: Fault, small_packs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the very last pack, after which nothing is handed over that could meet the failure."""
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    content = CONTENT[:400_000]
    number, name = 0, ""
    while not name.startswith("log/"):
        number += 1
        storage = FaultyStorage(MemoryStorage())
        repository = new_repository(storage, SMALL_CUT)
        made = len(storage.puts)
        with storage.at_put(number, fault):
            failure = failure_of(partial(back_up_disks, repository, [whole(content)]))
        name = storage.puts[made + number - 1]
        if name.startswith("log/"):
            assert failure is None
            (point,) = reopened(repository).points()
            assert restored(reopened(repository), point) == content
        else:
            assert isinstance(failure, FullError if fault is full else StorageError)
            require_nothing_happened(repository)
    assert number >= 7


def test_what_a_failed_backup_had_stored_spares_the_next_one_the_work(
    repository: Repository, storage: FaultyStorage, small_packs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 4)
    with storage.at_every_put("log/", failing), pytest.raises(StorageError):
        back_up_disks(repository, [whole(CONTENT)])
    outcome = back_up_disks(reopened(repository), [whole(CONTENT)])
    assert outcome.sent_bytes < len(CONTENT) // 10
    assert restored(reopened(repository), outcome.point) == CONTENT


# --- a commit whose outcome is not known at once ----------------------------------------------------------------------


def in_turn(*faults: Fault) -> Fault:
    """Each put meets the next fault; when they are used up, puts succeed."""
    left = iter(faults)

    def fault(put: Put) -> None:
        next(left, Put.succeed)(put)

    return fault


@pytest.mark.parametrize("fault", [failing, failing_after_it_happened])
def test_a_commit_is_sent_again_until_its_outcome_is_known_and_happens_once(
    repository: Repository, storage: FaultyStorage, fault: Fault
) -> None:
    with storage.at_every_put("log/", in_turn(fault, fault)):
        point = back_up_disks(repository, [whole(CONTENT)]).point
    assert [each.id for each in reopened(repository).points()] == [point.id]
    assert len(list(storage.list("log/"))) == 2
    assert restored(reopened(repository), point) == CONTENT


@pytest.mark.parametrize("blind", [False, True])
def test_a_commit_whose_outcome_stays_unknown_is_reported_as_that(
    repository: Repository, storage: FaultyStorage, *, blind: bool
) -> None:
    """The entry shows, perhaps, but no put of it ever returned: neither done nor undone can be promised."""

    def fault(put: Put) -> None:
        if blind:
            storage.unreadable["log/"] = StorageError("log/: time-out")
        failing_after_it_happened(put)

    with storage.at_every_put("log/", fault), pytest.raises(FailedError) as caught:
        back_up_disks(repository, [whole(CONTENT)])
    assert caught.value.code == "outcome-unknown"
    assert "point list" in caught.value.hint
    storage.unreadable.clear()
    (point,) = reopened(repository).points()
    assert restored(reopened(repository), point) == CONTENT


# --- interrupted ------------------------------------------------------------------------------------------------------


class InterruptedForTest(BaseException):
    """What a signal raises in the main thread."""


@contextmanager
def interrupting(signum: int = signal.SIGUSR1) -> Iterator[None]:
    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)
        raise InterruptedForTest

    before = signal.signal(signum, interrupt)
    try:
        yield
    finally:
        signal.signal(signum, before)


def interrupt_main_thread() -> None:
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGUSR1)


def test_threads_have_ended_when_an_interrupted_run_returns() -> None:
    """Also the one that was being waited for: an interrupted `Thread.join` takes a running thread for ended."""
    at_work: set[str] = set()
    every_thread_works = threading.Barrier(worker_count())

    def body(work: Shared[int]) -> None:
        name = threading.current_thread().name
        every_thread_works.wait()
        for _ in work:
            at_work.add(name)
            if name == "mover-0":
                interrupt_main_thread()
                time.sleep(0.4)
            at_work.discard(name)

    with interrupting(), pytest.raises(InterruptedForTest):
        run_threads("mover", Shared(range(10_000_000)), body)
    assert at_work == set(), "a thread was still at work"


def test_an_interrupt_while_threads_are_still_being_started_leaves_none_at_work() -> None:
    for _ in range(100):
        at_work: set[int] = set()
        interrupted = threading.Lock()

        def body(work: Shared[int], at_work: set[int] = at_work, interrupted: threading.Lock = interrupted) -> None:
            ident = threading.get_ident()
            at_work.add(ident)
            if interrupted.acquire(blocking=False):
                interrupt_main_thread()
            for _ in work:
                time.sleep(0.001)
            at_work.discard(ident)

        with interrupting(), pytest.raises(InterruptedForTest):
            run_threads("mover", Shared(range(10_000_000)), body)
        assert at_work == set(), "a thread was still at work"


@pytest.mark.parametrize("at_read", [1, 5, 15])
def test_an_interrupted_backup_leaves_no_point_and_no_thread(
    repository: Repository, at_read: int, small_packs: None
) -> None:
    count = Countdown(at_read, KeyError())

    def fault(offset: int, length: int) -> None:
        try:
            count(offset, length)
        except KeyError:
            interrupt_main_thread()
        time.sleep(0.002)

    with interrupting(), pytest.raises(InterruptedForTest):
        back_up_disks(repository, [whole(CONTENT, fault=fault)])
    assert repository._claims._owners == {}, "claims are left that nobody will ever redeem"
    require_nothing_happened(repository)


def test_an_interrupted_restore_writes_no_more(repository: Repository) -> None:
    point = back_up_disks(repository, [whole(CONTENT)]).point
    written = []

    def fault(offset: int, length: int) -> None:
        written.append(offset)
        if len(written) == 3:
            interrupt_main_thread()
        time.sleep(0.002)

    target = ModelTarget(len(CONTENT), fault)
    with interrupting(), pytest.raises(InterruptedForTest):
        restore_disk(repository, point.disks[0], target, progress=Silence())
    count = len(written)
    assert target.open_writers == 0
    time.sleep(0.1)
    assert len(written) == count


# --- restores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 7, 20])
@pytest.mark.parametrize("error", [FullError("out: no space left"), FailedError("out: Input/output error")])
def test_a_target_that_cannot_be_written_ends_the_restore_and_is_not_finished(
    repository: Repository, number: int, error: HoldfastError
) -> None:
    content = b"".join(
        CONTENT[at : at + 60_000] + bytes(20_000) for at in range(0, len(CONTENT), 80_000)
    )  # many writes
    point = back_up_disks(repository, [whole(content)]).point
    target = ModelTarget(len(content), Countdown(number, error))
    with pytest.raises(type(error), match="out"):
        restore_disk(repository, point.disks[0], target, progress=Silence())
    assert target.open_writers == 0
    assert not target.finished
    assert restored(repository, point) == content


@pytest.mark.parametrize("kind", ["root", "leaf", "data"])
def test_what_cannot_be_restored_is_named_by_disk(repository: Repository, storage: FaultyStorage, kind: str) -> None:
    point = back_up_disks(repository, [whole(CONTENT, name="system")]).point
    disk = point.disks[0]
    stored = repository.open_disk(disk.root)
    leaf = next(leaf.leaf for leaf in stored.leaves() if leaf.leaf)
    wanted = {"root": bytes.fromhex(disk.root), "leaf": leaf, "data": stored.pieces(leaf)[0].id}[kind]
    assert wanted is not None
    lose(repository, storage, wanted)
    target = ModelTarget(len(CONTENT))
    with pytest.raises(DamagedError, match="disk system") as caught:
        restore_disk(reopened(repository), disk, target, progress=Silence())
    assert caught.value.hint
    assert not target.finished


def lose(repository: Repository, storage: FaultyStorage, wanted: bytes) -> None:
    """Damage every record that holds this id."""
    inner = storage.inner
    assert isinstance(inner, MemoryStorage)
    index = repository.records.index
    for place in index.copies(wanted):
        pack = index.packs[place.pack]
        record = pack.table.record_of(place.segment)
        start = int(pack.table.records[record]["offset"])
        content = bytearray(inner.objects[pack.object])
        content[start] ^= 1
        inner.objects[pack.object] = bytes(content)
