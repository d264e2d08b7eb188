"""Requests made before their answers are wanted: in order, so many and no more, and none when nobody listens."""

import threading
from collections.abc import Iterator

import pytest

from holdfast.core.ahead import results_ahead


class Desk:
    """Answers requests, all that are under way at once, and knows how many were."""

    def __init__(self, parties: int) -> None:
        self.begun: list[int] = []
        self.asked: list[int] = []
        self.most_at_once = 0
        self._together = threading.Barrier(parties, timeout=10)
        self._now = 0
        self._counting = threading.Lock()

    def questions(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.asked.append(number)
            yield number

    def answer(self, number: int) -> int:
        with self._counting:
            self.begun.append(number)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        self._together.wait()
        with self._counting:
            self._now -= 1
        return 10 * number


@pytest.mark.parametrize("threads", [1, 4])
def test_answers_come_in_the_order_of_the_questions(threads: int) -> None:
    desk = Desk(parties=threads)
    answers = results_ahead("test", desk.answer, desk.questions(12), threads=threads, ahead=threads)
    assert list(answers) == [10 * number for number in range(12)]
    assert desk.most_at_once == threads


def test_no_more_is_asked_than_may_wait() -> None:
    answers = results_ahead("test", int, (desk := Desk(1)).questions(100), threads=2, ahead=4)
    for wanted in range(50):
        assert next(answers) == wanted
        assert len(desk.asked) <= wanted + 4


def test_what_a_request_raises_is_raised_in_its_place() -> None:
    def answer(number: int) -> int:
        if number == 5:
            raise ValueError("the sixth")
        return number

    answers = results_ahead("test", answer, range(100), threads=3, ahead=3)
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the sixth"):
        next(answers)


def test_whoever_stops_listening_leaves_no_thread() -> None:
    before = threading.active_count()
    answers = results_ahead("test", int, range(100), threads=8, ahead=8)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
