"""Requests of the storage that several threads make: none waits for another, nor does who asked for them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def each_of(request: Callable[[Asked], Answer], asked: Iterable[Asked], threads: int) -> Iterator[Answer]:
    """The answers in the order of what was asked. Raises what a request raises; those not begun are not made then."""
    workers = ThreadPoolExecutor(threads, "collector")
    try:
        yield from workers.map(request, asked)
    finally:
        workers.shutdown(cancel_futures=True)


class Behind(Generic[Asked]):
    """A request for each thing that is handed over, made while its owner goes on; so many at once, and no more."""

    def __init__(self, request: Callable[[Asked], None], threads: int) -> None:
        self._request = request
        self._threads = threads
        self._workers = ThreadPoolExecutor(threads, "collector")
        self._under_way: deque[Future[None]] = deque()

    def hand_over(self, asked: Asked) -> None:
        """Waits while too many are under way. Raises what an earlier request raised."""
        while len(self._under_way) >= self._threads:
            self._under_way.popleft().result()
        self._under_way.append(self._workers.submit(self._request, asked))

    def finish(self) -> None:
        """Wait for all of them. Raises what a request raised."""
        while self._under_way:
            self._under_way.popleft().result()

    def stop(self) -> None:
        """No request is under way any more, and none will be."""
        self._workers.shutdown()
