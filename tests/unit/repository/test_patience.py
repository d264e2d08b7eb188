"""What is tried again, for how long, with which pauses; and a bandwidth limit."""

import threading
from collections.abc import Callable, Iterator

import pytest

from holdfast.core.ending import ask_to_end, forget_ending
from holdfast.core.errors import DeniedError
from holdfast.repository import MemoryStorage
from holdfast.repository.storage.limited import LimitedStorage
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.port import StorageError, StorageUnreachableError


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, pause: float) -> None:
        self.now += pause
        self.pauses.append(pause)


@pytest.fixture
def time() -> Time:
    return Time()


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    return work


def test_work_that_succeeds_in_the_end_has_succeeded(time: Time) -> None:
    patience = Patience(sleep=time.sleep, clock=time.clock)
    assert patience.run(failing(9, StorageUnreachableError("busy"))) == "done"
    assert len(time.pauses) == 9


def test_pauses_grow_up_to_a_bound_and_differ(time: Time) -> None:
    patience = Patience(total_s=10_000, first_pause_s=1, longest_pause_s=8, sleep=time.sleep, clock=time.clock)
    patience.run(failing(300, StorageUnreachableError("busy")))
    ceilings = [1, 2, 4, *[8] * 297]
    assert all(0 <= pause <= ceiling for pause, ceiling in zip(time.pauses, ceilings, strict=True))
    assert max(time.pauses[3:]) > 4
    assert len(set(time.pauses)) > 250


def test_patience_ends_so_long_after_the_first_failure(time: Time) -> None:
    def work() -> str:
        time.now += 400  # longer than the patience: it is the silence afterwards that counts
        raise StorageUnreachableError("silent")

    with pytest.raises(StorageUnreachableError):
        Patience(total_s=300, sleep=time.sleep, clock=time.clock).run(work)
    assert 800 <= time.now < 820


@pytest.mark.parametrize("error", [StorageError("broken"), DeniedError("no"), KeyboardInterrupt()])
def test_nothing_else_is_tried_again(time: Time, error: BaseException) -> None:
    with pytest.raises(type(error)):
        Patience(sleep=time.sleep, clock=time.clock).run(failing(1, error))
    assert time.pauses == []


def test_a_limit_holds_over_puts_and_reads_together(time: Time) -> None:
    storage = LimitedStorage(MemoryStorage(), 1000, clock=time.clock, sleep=time.sleep)
    for number in range(10):
        storage.put(f"packs/{number}", [bytes(300), bytes(200)])
    assert 4.0 <= time.now <= 5.0
    for number in range(10):
        assert storage.get(f"packs/{number}") == bytes(500)
    assert 9.0 <= time.now <= 10.0
    buffer = bytearray(250)
    for number in range(10):
        storage.read_into(f"packs/{number}", 0, memoryview(buffer))
    storage.put("end", [b""])
    assert time.now == pytest.approx(12.5)
    assert storage.size("packs/1") == 500
    assert len(list(storage.list("packs/"))) == 10
    assert time.now == pytest.approx(12.5)


def test_a_limit_that_nobody_used_for_a_while_is_not_saved_up(time: Time) -> None:
    storage = LimitedStorage(MemoryStorage(), 1000, clock=time.clock, sleep=time.sleep)
    time.now = 100
    for number in range(3):
        storage.put(f"{number}", [bytes(1000)])
    assert time.now == pytest.approx(102)


def test_a_limit_holds_over_threads_together() -> None:
    time, starts, lock = Time(), [], threading.Lock()

    def sleep(pause: float) -> None:
        with lock:
            starts.append(pause)

    storage = LimitedStorage(MemoryStorage(), 1000, clock=time.clock, sleep=sleep)
    threads = [threading.Thread(target=storage.put, args=(f"{number}", [bytes(100)])) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starts) == pytest.approx([0.1 * number for number in range(1, 8)])


@pytest.fixture
def ending() -> Iterator[None]:
    ask_to_end()
    yield
    forget_ending()


@pytest.mark.usefixtures("ending")
def test_a_process_that_is_asked_to_end_waits_for_nobody() -> None:
    with pytest.raises(StorageUnreachableError):
        Patience(first_pause_s=1000, longest_pause_s=1000).run(failing(2, StorageUnreachableError("busy")))
    storage = LimitedStorage(MemoryStorage(), 1)
    storage.put("first", [bytes(1000)])
    storage.put("second", [bytes(1000)])
    assert storage.size("second") == 1000
