"""Threads that share one stream of work; the first failure ends all of them."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Work = TypeVar("Work")


def worker_count() -> int:
    """One more than there are processors, to hide waits for reads; more than eight only waste memory."""
    return min(8, (os.cpu_count() or 1) + 1)


class Shared(Generic[Work]):
    """An iterator that many threads draw from, until it ends or somebody stops it."""

    def __init__(self, work: Iterable[Work]) -> None:
        self._work = iter(work)
        self._lock = threading.Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[Work]:
        while True:
            with self._lock:
                if self._stopped:
                    return
                try:
                    item = next(self._work)
                except StopIteration:
                    return
            yield item

    def stop(self) -> None:
        """Give out nothing more."""
        self._stopped = True


def run_threads(name: str, work: Shared[Work], body: Callable[[Shared[Work]], None], spare: int = 0) -> None:
    """Run `body` in several threads over the same work; raises the first failure of any, once all have ended.

    `spare` is how many more are worth their memory, since work of this kind waits so much.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            body(work)
        except BaseException as failure:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(failure)
            work.stop()

    workers = [_Worker(f"{name}-{number}", run) for number in range(worker_count() + spare)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait()
    except BaseException:
        work.stop()
        for worker in workers:
            worker.call_off()
        raise
    if failures:
        raise failures[0]


class _Worker:
    """A thread of which is always known whether it is at work.

    An interrupt can strike in the middle of `Thread.start`, which says nothing about whether the thread will run, and
    in the middle of `Thread.join`, which then takes a running thread for ended.
    """

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self._body = body
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Let it begin. Raises RuntimeError if there cannot be another thread."""
        self._thread.start()

    def wait(self) -> None:
        """Until it has ended."""
        self._ended.wait()

    def call_off(self) -> None:
        """If it has not begun, it never will; if it has, wait."""
        if not self._turn.acquire(blocking=False):
            self._ended.wait()

    def _run(self) -> None:
        if self._turn.acquire(blocking=False):
            try:
                self._body()
            finally:
                self._ended.set()
