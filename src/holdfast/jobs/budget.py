"""A budget that several jobs at once share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """So much of something, for instance bytes of memory. For any thread."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def share(self, amount: int) -> Iterator[None]:
        """Take part of it while the context lasts; waits for it. Who needs more than there is, has all of it alone."""
        taken = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()
