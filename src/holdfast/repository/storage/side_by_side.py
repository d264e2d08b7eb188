"""Reading much from a storage: where each read waits for its answer, the next ones are on their way meanwhile."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from holdfast.core.ahead import results_ahead
from holdfast.core.errors import HoldfastError
from holdfast.repository.storage.port import Storage, Stored

_LITTLE_BYTES: Final = 1024 * 1024
"""What is larger waits for its bytes rather than for an answer; many of them at once would only fill the memory."""

Work = TypeVar("Work")
Result = TypeVar("Result")


def read_side_by_side(storage: Storage, read: Callable[[Work], Result], work: Iterable[Work]) -> Iterator[Result]:
    """What `read` makes of each piece of work, in order; never more of them are held than the storage reads at once.

    Where that is one, everything happens in the caller's thread, when it wants the next. Raises what `read` raises.
    """
    count = storage.reads_at_once
    return map(read, work) if count == 1 else results_ahead("reads", read, work, threads=count, ahead=count)


def get_side_by_side(storage: Storage, objects: Sequence[Stored]) -> Iterator[bytes | HoldfastError]:
    """Whole objects in order, or why one cannot be had. What is not little is got when it is wanted, and held alone."""

    def little(stored: Stored) -> bytes | HoldfastError | None:
        return _got(storage, stored) if stored.size <= _LITTLE_BYTES else None

    for stored, got in zip(objects, read_side_by_side(storage, little, objects), strict=True):
        yield _got(storage, stored) if got is None else got


def _got(storage: Storage, stored: Stored) -> bytes | HoldfastError:
    try:
        return storage.get(stored.name)
    except HoldfastError as error:
        return error
