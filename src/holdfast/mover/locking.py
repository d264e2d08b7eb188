"""Locking a point from its commit on: what it needs is locked in the store before the entry that makes it exist is put.

What a backup has stored or met in the index it relies on, so that much is known. What lies below subtrees taken over
from the parent was never looked at: if the parent is known to be locked for as long, so is all that; otherwise, once in
a month for each machine, the new point is walked.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from holdfast.core.errors import HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.repository import Attempt, Body, Commit, Repository, State

Make = Callable[[State, datetime], Body]


class PointLock:
    """The lock of one point that is about to be committed."""

    def __init__(self, repository: Repository, attempt: Attempt, period: timedelta, progress: Progress) -> None:
        self._locking = repository.locking
        self._attempt = attempt
        self._until = repository.log.clock() + period
        self._progress = progress

    def prepare(self, draft: RestorePoint) -> None:
        """Lock all that the point needs.

        Raises what the store raises, ObjectMissingError and BlockMissingError also if a collection was at it meanwhile.
        """
        if weakness := self._locking.weakness:
            self._progress.warning(weakness)
            return
        self._progress.step("Locking what the point needs")
        inherits = any(disk.capture == "incremental" for disk in draft.disks)
        if inherits and not (draft.parent and self._locking.is_remembered(draft.parent, self._until)):
            self._attempt.rely_on(self._locking.reached_by([draft]).packs)
        self._locking.secure(self._attempt.packs, self._until)

    def of(self, make: Make) -> Make:
        """A commit that locks the points that `make` commits."""

        def locked(state: State, now: datetime) -> Body:
            body = make(state, now)
            return replace(body, locked_until=self._until) if isinstance(body, Commit) else body

        return locked

    def complete(self, point: RestorePoint) -> datetime | None:
        """Lock the entry that commits the point. Until when the point is locked; None, with a warning, if it is not.

        The point exists by now, so that this fails is no failure of the backup.
        """
        if not self._locking.weakness:
            try:
                self._locking.secure_log(self._until)
            except HoldfastError as error:
                self._progress.warning(
                    f"point {point.id} is not locked in full, its entry of the log can be deleted: {error.message}; "
                    f"run `holdfast point lock {point.id} --until {self._until:%Y-%m-%dT%H:%MZ}`"
                )
                return None
            self._locking.remember([point.id], self._until)
        return self._until
