"""A bandwidth limit over any storage: so many bytes a second, in and out together, whoever moves them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from holdfast.core.ending import sleep_unless_ending
from holdfast.repository.storage.port import Bytes, Storage, Stored


class LimitedStorage:
    """Carries everything out, each transfer when those before it have used up their time.

    A transfer itself runs as fast as it can, so the limit holds over some objects, not within one.
    """

    def __init__(
        self,
        inner: Storage,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = sleep_unless_ending,
    ) -> None:
        self._inner = inner
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._reserving = threading.Lock()
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.object_lock = inner.object_lock
        self.ballast = inner.ballast

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """See the port."""
        self._wait_for_turn(sum(map(len, parts)))
        self._inner.put(name, parts, verify_share=verify_share)

    def get(self, name: str) -> bytes:
        """See the port. How much it is shows afterwards, so whoever comes next pays for it."""
        self._wait_for_turn(0)
        content = self._inner.get(name)
        self._reserve(len(content))
        return content

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """See the port."""
        self._wait_for_turn(len(buffer))
        self._inner.read_into(name, offset, buffer)

    def size(self, name: str) -> int:
        """See the port."""
        return self._inner.size(name)

    def delete(self, *names: str) -> None:
        """See the port."""
        self._inner.delete(*names)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See the port."""
        return self._inner.list(prefix)

    def _wait_for_turn(self, count: int) -> None:
        if (wait := self._reserve(count)) > 0:
            self._sleep(wait)

    def _reserve(self, count: int) -> float:
        """Take the next free time for so many bytes. Returns how long until it begins."""
        with self._reserving:
            now = self._clock()
            begins = max(self._free_at, now)
            self._free_at = begins + count / self._bytes_per_second
        return begins - now
