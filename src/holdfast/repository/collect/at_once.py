"""The same small request for many objects, several at once: each waits for the storage, and none for another."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def each_of(request: Callable[[Asked], Answer], asked: Iterable[Asked], threads: int) -> Iterator[Answer]:
    """The answers in the order of what was asked. Raises what a request raises; those not begun are not made then."""
    workers = ThreadPoolExecutor(threads, "collector")
    try:
        yield from workers.map(request, asked)
    finally:
        workers.shutdown(cancel_futures=True)
