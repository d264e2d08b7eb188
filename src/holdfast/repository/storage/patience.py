"""Trying again what a store did not answer: exponential back-off with full jitter, up to a bound."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from holdfast.core.ending import is_ending, sleep_unless_ending
from holdfast.repository.storage.port import StorageUnreachableError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long work that meets StorageUnreachableError is tried again, counted from its first failure.

    Jitter keeps many clients that were turned away together from coming back together. A process that is asked to end
    tries nothing again.
    """

    total_s: float = 300
    first_pause_s: float = 0.2
    longest_pause_s: float = 20
    sleep: Callable[[float], None] = sleep_unless_ending
    clock: Callable[[], float] = time.monotonic

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises its last StorageUnreachableError, and at once whatever else it raises."""
        ceiling = self.first_pause_s
        deadline: float | None = None
        while True:
            try:
                return work()
            except StorageUnreachableError:
                now = self.clock()
                deadline = now + self.total_s if deadline is None else deadline
                pause = random.uniform(0, ceiling)  # noqa: S311 - spreads load, hides nothing
                if now + pause > deadline or is_ending():
                    raise
            self.sleep(pause)
            ceiling = min(2 * ceiling, self.longest_pause_s)
