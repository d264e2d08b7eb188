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


def run_threads(name: str, work: Shared[Work], body: Callable[[Shared[Work]], None]) -> None:
    """Run `body` in several threads over the same work; raises the first failure of any, once all have ended.

    Waits for events instead of joining: a `Thread.join` that is interrupted takes the running thread for ended.
    """
    failures: list[BaseException] = []
    endings: list[threading.Event] = []

    def run(ended: threading.Event) -> None:
        try:
            body(work)
        except BaseException as failure:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(failure)
            work.stop()
        finally:
            ended.set()

    try:
        for number in range(worker_count()):
            ended = threading.Event()
            threading.Thread(target=run, args=[ended], name=f"{name}-{number}", daemon=True).start()
            endings.append(ended)
        _wait_for(endings)
    except BaseException:
        work.stop()
        _wait_for(endings)
        raise
    if failures:
        raise failures[0]


def _wait_for(endings: Iterable[threading.Event]) -> None:
    for ended in endings:
        ended.wait()
