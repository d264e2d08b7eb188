"""Which backup of this process is storing which id, so that two that hold the same blocks store them once.

An id that is being stored is *claimed*: whoever claims it first stores it. A claim has no place, so nothing can refer
to bytes that are not durable yet.
"""

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.repository.neighbours import Neighbours

_PROMISES: Final = 64 * 1024
"""Ids relied on before looking which of them are home: about 20 MiB."""


class Claims:
    """Who in this process is storing which id. Taking one is a single step of a dictionary, so it needs no lock.

    `at_work` is where processes of this host tell each other the same; None: they do not.
    """

    def __init__(self, at_work: Path | None = None) -> None:
        self._at_work = at_work
        self._owners: dict[bytes, list[object]] = {}
        self._released = threading.Condition()

    def neighbours(self) -> Neighbours | None:
        """A new attempt's place among those of other processes; it has to be closed."""
        return Neighbours(self._at_work) if self._at_work else None

    def take(self, wanted: bytes, attempt: object) -> object | None:
        """Claim an id for an attempt: None if it is now to store it, else the attempt that is already doing so.

        The fresh list tells a claim just made from one that stood, in one atomic step.
        """
        mine = [attempt]
        owner = self._owners.setdefault(wanted, mine)
        return None if owner is mine else owner[0]

    def release(self, ids: Iterable[bytes]) -> None:
        """These ids are in the index now, or nobody is storing them any more."""
        for claimed in ids:
            self._owners.pop(claimed, None)
        with self._released:
            self._released.notify_all()

    def release_all(self, attempt: object) -> None:
        """The attempt has ended; what it claimed and did not bring home is anybody's again."""
        self.release([claimed for claimed, owner in self._owners.copy().items() if owner[0] is attempt])

    def wait_for(self, ids: Collection[bytes], timeout_s: float) -> None:
        """Return when none of these ids is claimed, or when the time is over."""
        with self._released:
            self._released.wait_for(lambda: not any(wanted in self._owners for wanted in ids), timeout_s)


class Promises:
    """What siblings are storing and one attempt relies on: an id, and the work that needs it. Any thread.

    Of two equal machines one relies on the other for everything; what has been brought home since is forgotten.
    """

    def __init__(self, is_stored: Callable[[Sequence[bytes]], NDArray[np.bool_]]) -> None:
        self._is_stored = is_stored
        self._lock = threading.Lock()
        self._work: dict[bytes, set[Hashable]] = {}
        self._limit = _PROMISES

    def add(self, wanted: bytes, work: Hashable) -> None:
        """Rely on a sibling for an id."""
        with self._lock:
            self._work.setdefault(wanted, set()).add(work)
            if len(self._work) > self._limit:
                self._forget_kept()
                self._limit = max(_PROMISES, 2 * len(self._work))

    def ids(self) -> list[bytes]:
        """Everything relied on."""
        with self._lock:
            return list(self._work)

    def unkept(self) -> list[bytes]:
        """What is not home yet."""
        with self._lock:
            self._forget_kept()
            return list(self._work)

    def redeem(self) -> dict[bytes, set[Hashable]]:
        """The promises that have not been kept. Forgets all."""
        with self._lock:
            self._forget_kept()
            broken, self._work = self._work, {}
            return broken

    def _forget_kept(self) -> None:
        if not self._work:
            return
        kept = self._is_stored(list(self._work))
        self._work = {each: work for (each, work), done in zip(self._work.items(), kept, strict=True) if not done}
