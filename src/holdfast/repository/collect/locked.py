"""What the store lets nobody delete: such packs are neither condemned nor rewritten, until their locks are over.

The store is asked, not the log: a lock was made before the entry that speaks of it, and may be there without one. Its
own clock says whether a lock is over.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cached_property
from typing import Final

from holdfast.core.errors import DeniedError, RefusedError
from holdfast.repository.collect.at_once import each_of
from holdfast.repository.packs import object_of
from holdfast.repository.state import State
from holdfast.repository.storage.port import ObjectLock, ObjectMissingError, Storage

_AT_ONCE: Final = 16


class LockedError(RefusedError):
    """The store lets nobody delete the object yet."""


class Locked:
    """Asks one store. Where it locks, a delete names the version: one that does not would only hide the object."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def among(self, packs: Collection[str]) -> frozenset[str]:
        """Which of these packs, by name, are locked now."""
        if not packs or (lock := self._by_store) is None:
            return frozenset()

        def is_locked(pack: str) -> bool:
            try:
                return lock.retention(object_of(pack)).in_force
            except ObjectMissingError:  # another collection was faster
                return False

        locked = each_of(is_locked, packs, _AT_ONCE)
        return frozenset(pack for pack, is_so in zip(packs, locked, strict=True) if is_so)

    def delete(self, *names: str) -> None:
        """Delete objects for good. Raises LockedError, and what the storage raises; then some may be there still."""
        if (lock := self._by_store) is None:
            self._storage.delete(*names)
            return
        for name in names:
            self._delete_versions(lock, name)

    def _delete_versions(self, lock: ObjectLock, name: str) -> None:
        for version in [each for each in lock.versions(name) if each.name == name]:
            try:
                lock.remove(version)
            except DeniedError as error:
                if lock.retention(name).in_force:
                    raise LockedError(f"{name} is locked by the store") from error
                raise

    @cached_property
    def _by_store(self) -> ObjectLock | None:
        lock = self._storage.object_lock
        return lock if lock is not None and lock.is_enabled() else None


def locks_of(state: State) -> Mapping[str, datetime]:
    """The locked points: as long as these are the same, nobody has decided to lock anything more."""
    return {name: each.locked_until for name, each in state.standings.items() if each.locked_until is not None}
