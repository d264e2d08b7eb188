"""A bandwidth limit over any storage: so many bytes a second, in and out together, whoever moves them.

The clock on the wall says which rate holds, the monotonic one how long it has held. The former may be set, and jumps
when daylight saving begins or ends. So whoever waits looks at it again after a minute, and when a window begins or
ends.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from holdfast.core.bandwidth import Bandwidth
from holdfast.core.ending import is_ending, sleep_unless_ending
from holdfast.repository.storage.port import Bytes, Storage, Stored

_LONGEST_SLEEP_S: Final = 60
_ROUNDING_S: Final = 1e-6
"""What is shorter than that is an error of rounding: sleeping for it may move no clock."""


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class LimitedStorage:
    """Carries everything out, each transfer when those before it have used up their time.

    The line carries bytes in the order in which they were announced. What it had no time for yet is owed, and a turn
    has come when nothing is owed of what came before. A transfer itself runs as fast as it can, so the limit holds over
    some objects, not within one.
    """

    def __init__(
        self,
        inner: Storage,
        bandwidth: Bandwidth,
        *,
        clock: Callable[[], float] = time.monotonic,
        local_time: Callable[[], datetime] = _local_time,
        sleep: Callable[[float], None] = sleep_unless_ending,
    ) -> None:
        self._inner = inner
        self._bandwidth = bandwidth
        self._clock = clock
        self._local_time = local_time
        self._sleep = sleep
        self._announced = 0
        self._owed = 0.0
        self._seen, self._seen_local = clock(), local_time()
        self._counting = threading.Lock()
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.reads_at_once = inner.reads_at_once
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
        self._announce(len(content))
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
        turn = self._announce(count)
        while (pause := self._pause_before(turn)) and not is_ending():
            self._sleep(pause)

    def _announce(self, count: int) -> int:
        """So many bytes will move, or have moved. Returns how many were announced before them, which is their turn."""
        with self._counting:
            self._let_time_pass()
            turn = self._announced
            self._announced += count
            self._owed += count
        return turn

    def _pause_before(self, turn: int) -> float:
        """Seconds after which to look again whether the turn has come; 0 if it has."""
        with self._counting:
            self._let_time_pass()
            ahead = self._owed - (self._announced - turn)
            local = self._seen_local
        rate = self._bandwidth.rate_at(local)
        if rate is None or ahead <= rate * _ROUNDING_S:
            return 0
        return min(ahead / rate, self._bandwidth.seconds_to_change(local), _LONGEST_SLEEP_S)

    def _let_time_pass(self) -> None:
        """Take off what is owed what the line has carried since the last look."""
        now = self._clock()
        self._owed = self._bandwidth.left_of(self._owed, self._seen_local, now - self._seen)
        self._seen, self._seen_local = now, self._local_time()
