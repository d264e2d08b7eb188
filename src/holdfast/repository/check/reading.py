"""Reading whole objects as fast as they can be hashed: reused buffers, one thread for each processor."""

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from blake3 import blake3

from holdfast.core.ahead import results_ahead
from holdfast.repository.storage.port import MAXIMUM_OBJECT_BYTES, Storage, StorageError, Stored

_STEP_BYTES: Final = 4 * 1024 * 1024
"""Small enough to be hashed out of a processor's cache, large enough for one request to an object storage."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Buffers(threading.local):
    """Memory that each thread reads into again and again; a fresh page for each byte would cost more than its hash."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    def of(self, size: int) -> memoryview:
        """So many bytes, whatever they hold."""
        if len(self._memory) < size:
            self._memory = memoryview(mmap.mmap(-1, max(size, _STEP_BYTES)))
        return self._memory[:size]


_buffers = _Buffers()


def digest_of(storage: Storage, stored: Stored) -> str:
    """The hash (hex) of an object's bytes. Raises what reading raises, StorageError for more than any object has."""
    _require_plausible(stored)
    hasher = blake3()
    for start in range(0, stored.size, _STEP_BYTES):
        piece = _buffers.of(min(_STEP_BYTES, stored.size - start))
        storage.read_into(stored.name, start, piece)
        hasher.update(piece)
    return hasher.hexdigest()


def whole(storage: Storage, stored: Stored) -> memoryview:
    """An object's bytes, in memory that this thread's next call reuses. Raises like `digest_of`."""
    _require_plausible(stored)
    buffer = _buffers.of(stored.size)
    storage.read_into(stored.name, 0, buffer)
    return buffer


def in_threads(storage: Storage, work: Iterable[Item], body: Callable[[Item], Result]) -> Iterator[Result]:
    """The results of `body` over the work, in order, a few ahead of whoever takes them; the first failure ends it.

    Each thread may hold a whole pack: there are as many as processors, or as it takes to use the storage's whole line.
    """
    threads = max(os.cpu_count() or 1, storage.puts_at_once)
    return results_ahead("check", body, work, threads=threads, ahead=threads + 1)


def _require_plausible(stored: Stored) -> None:
    if stored.size > MAXIMUM_OBJECT_BYTES:
        message = f"{stored.name} is {stored.size} bytes large, no object of a repository is"
        raise StorageError(message, hint="it was put there by somebody else", code="oversized")
