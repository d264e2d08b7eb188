"""Deleting objects: many in a request, and many requests at once, since each waits for the storage."""

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.repository.collect.at_once import each_of
from holdfast.repository.collect.locked import Locked, LockedError
from holdfast.repository.storage.port import StorageError

_REQUESTS_AT_ONCE: Final = 16
_DELETED_AT_ONCE: Final = 256


class Growth:
    """By how many bytes the repository has grown, and had at most."""

    def __init__(self) -> None:
        self.bytes = 0
        self.peak_bytes = 0

    def add(self, size: int) -> None:
        """Count an object that was put, or one (negative) that was deleted."""
        self.bytes += size
        self.peak_bytes = max(self.peak_bytes, self.bytes)


class Deletion:
    """What one collection deletes. An object that cannot be deleted is left, and the next collection tries again.

    `locked` are the names of those that the store lets nobody delete yet.
    """

    def __init__(self, locked: Locked, growth: Growth, warn: Callable[[str], None]) -> None:
        self._locked = locked
        self._growth = growth
        self._warn = warn
        self.deleted_objects = 0
        self.locked: set[str] = set()

    def delete(self, doomed: Mapping[str, int]) -> Collection[str]:
        """Delete objects, by their sizes. Returns those that are gone, and warns of those that are not."""
        names = sorted(doomed)  # neighbours in name lie in one folder, which is synced once
        share = max(1, min(_DELETED_AT_ONCE, -(-len(names) // _REQUESTS_AT_ONCE)))
        requests = [names[at : at + share] for at in range(0, len(names), share)]
        failed = ChainMap(*each_of(self._try, requests, _REQUESTS_AT_ONCE))
        locked = {name for name, failure in failed.items() if isinstance(failure, LockedError)}
        self.locked |= locked
        gone = doomed.keys() - failed.keys()
        self._growth.add(-sum(doomed[name] for name in gone))
        self.deleted_objects += len(gone)
        if len(failed) > len(locked):
            first = next(failure for name, failure in failed.items() if name not in locked)
            self._warn(f"{len(failed) - len(locked)} objects could not be deleted yet: {first.message}")
        return gone

    def _try(self, names: Sequence[str]) -> dict[str, HoldfastError]:
        """What it failed with, by name, which must not end the sweep."""
        try:
            self._locked.delete(*names)
        except (LockedError, DeniedError, StorageError) as error:
            if len(names) == 1:
                return {names[0]: error}
            return {name: error for each in names for name, error in self._try([each]).items()}
        return {}
