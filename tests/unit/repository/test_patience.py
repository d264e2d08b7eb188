"""What is tried again, for how long, with which pauses."""

from collections.abc import Callable, Iterator

import pytest

from holdfast.core.ending import ask_to_end, forget_ending
from holdfast.core.errors import DeniedError
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


@pytest.fixture
def ending() -> Iterator[None]:
    ask_to_end()
    yield
    forget_ending()


@pytest.mark.usefixtures("ending")
def test_a_process_that_is_asked_to_end_waits_for_nobody() -> None:
    with pytest.raises(StorageUnreachableError):
        Patience(first_pause_s=1000, longest_pause_s=1000).run(failing(2, StorageUnreachableError("busy")))
