"""Work that threads do ahead of whoever takes the results, which come in the order of the work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


def results_ahead(
    name: str, act: Callable[[Work], Result], work: Iterable[Work], *, threads: int, ahead: int
) -> Iterator[Result]:
    """What `act` makes of each piece of work, at most `ahead` of which are under way or waiting to be taken.

    The threads are called `name`. The first failure is raised in its turn, and ends it all.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for piece in work:
                waiting.append(pool.submit(act, piece))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
