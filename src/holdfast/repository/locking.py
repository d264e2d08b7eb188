"""Locks that the store itself keeps, so that nobody undoes them who holds its credentials.

    secure     every pack that points need, then configuration, key slots and the log's entries up to now
    decide     the entry that says that the points are locked: only now they are
    secure     that entry

Locks are rounded up to the month, so the backups of a month find most of what they need locked already. A collection
asks the store before it condemns, and again after it has read an entry that locks: so a pack that was locked before
such an entry is condemned below its number, where whoever locks sees it, or not at all.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.core.errors import DeniedError
from holdfast.core.point import RestorePoint
from holdfast.repository.collect.marking import Marking
from holdfast.repository.collect.survey import roots_of
from holdfast.repository.config import NAMES
from holdfast.repository.known_locks import KnownLocks, end_of_period
from holdfast.repository.log import Log
from holdfast.repository.log_entry import entry_name
from holdfast.repository.packs import object_of
from holdfast.repository.records import BlockMissingError, Records
from holdfast.repository.reliance import Reliance
from holdfast.repository.storage.port import ObjectLock, ObjectMissingError, Storage

_AT_ONCE: Final = 16
_REMEMBERED_AT_ONCE: Final = 512
_TOLERATED: Final = timedelta(hours=1)


class Locking:
    """The locks of one repository. Any number of threads and processes may lock at once."""

    def __init__(self, storage: Storage, records: Records, log: Log, cache: Path | None) -> None:
        self._storage = storage
        self._records = records
        self._log = log
        self._known = KnownLocks(cache / "locked" if cache else None, storage.url)

    @cached_property
    def by_store(self) -> ObjectLock | None:
        """The store, if it locks. Raises DeniedError if it may not be asked, or where its clock is not ours."""
        lock = self._storage.object_lock
        if lock is None or not lock.is_enabled():
            return None
        theirs, ours = lock.retention(NAMES[0]).now, self._log.clock()
        if abs(theirs - ours) > _TOLERATED:
            message = f"here it is {ours:%Y-%m-%d %H:%M}, in {self._storage.url} it is {theirs:%Y-%m-%d %H:%M} (UTC)"
            raise DeniedError(
                message, hint="set this computer's clock: locks cannot be taken back", code="clock-skewed"
            )
        return lock

    @property
    def weakness(self) -> str:
        """What whoever locks must know where the store does not lock; "" where it does. Raises as `by_store`."""
        if self.by_store is not None:
            return ""
        return f"{self._storage.url} locks nothing itself: a lock binds Holdfast, not whoever can delete objects there"

    def secure_points(self, points: Sequence[RestorePoint], until: datetime) -> Reliance:
        """Lock all that these points need. What is returned says whether that still counts as of a later state.

        Raises DamagedError if they lack something, and what the store raises: then no decision may say they are locked.
        """
        while True:
            reliance = self.reached_by(points)
            try:
                self.secure(reliance.packs, until)
            except ObjectMissingError:
                if reliance.holds(self._log.read()):
                    raise
            else:
                return reliance

    def reached_by(self, points: Sequence[RestorePoint]) -> Reliance:
        """The packs that hold what these points need. Raises BlockMissingError."""
        while True:
            state = self._log.read()
            self._records.load_index()
            self._records.index.drop(state.condemned)
            marking = Marking(self._records)
            reliance = Reliance(self._records.index, state)
            try:
                marking.shun(state.damaged)
                marking.mark(roots_of(points))
            except BlockMissingError:
                if self._log.read().number == state.number:
                    raise
            else:
                reliance.note(np.array(marking.marks.packs(), np.int64))
                return reliance

    def secure(self, packs: Iterable[str], until: datetime) -> None:
        """Lock these packs, by name, and what it takes to find and open anything: configuration, key slots, the log."""
        slots = [stored.name for stored in self._storage.list("keys/")]
        self._secure([*map(object_of, packs), *NAMES, *slots], until)
        self.secure_log(until)

    def secure_log(self, until: datetime) -> None:
        """Lock every entry of the log up to the last that was read."""
        self._secure((entry_name(number) for number in range(1, self._log.state.number + 1)), until)

    def remember(self, points: Iterable[str], until: datetime) -> None:
        """All that these points need, and the entries that say so, are locked: who builds on them need not look."""
        self._known.add([_key(point) for point in points], end_of_period(until))

    def is_remembered(self, point: str, until: datetime) -> bool:
        """Whether all that a point needs is known to be locked until then."""
        return not self._known.others([_key(point)], end_of_period(until))

    def _secure(self, names: Iterable[str], until: datetime) -> None:
        """Lock those of these objects that are not known to be. What was locked before one failed is remembered."""
        if (lock := self.by_store) is None:
            return
        end = end_of_period(until)
        wanted = self._known.others(names, end)
        with ThreadPoolExecutor(_AT_ONCE, "lock") as workers:
            for first in range(0, len(wanted), _REMEMBERED_AT_ONCE):
                batch = wanted[first : first + _REMEMBERED_AT_ONCE]
                list(workers.map(partial(lock.lock, until=end), batch))
                self._known.add(batch, end)


def _key(point: str) -> str:
    return f"point {point}"
