"""Bringing back objects that somebody hid or overwrote in a store that keeps every version. Needs no key.

Objects are created once, so a name's object is its oldest version that is as its name says: packs and index objects are
named by the hash of their content, of others the oldest is taken. What is newer is none of ours, and is deleted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from blake3 import blake3

from holdfast.core.errors import RefusedError
from holdfast.repository.storage.port import ObjectLock, Storage, Version

_FOLDERS = ("config", "keys/", "log/", "index/", *(f"packs/{number:02x}/" for number in range(256)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """An object that is not what its name shows now, and the versions that are in front of it, the newest first."""

    name: str
    in_front: Sequence[Version]


def hidden_objects(storage: Storage) -> Iterator[Hidden]:
    """Every object that is hidden or overwritten. Raises RefusedError where the store keeps no versions of names."""
    lock = storage.object_lock
    if lock is None or not lock.is_enabled():
        message = f"{storage.url} is no bucket with object lock"
        raise RefusedError(message, hint="bring objects back from a copy of the repository", code="no-object-lock")
    for folder in _FOLDERS:
        for name, versions in groupby(lock.versions(folder), key=lambda each: each.name):
            if in_front := _in_front(lock, list(versions)):
                yield Hidden(name=name, in_front=in_front)


def unhide(storage: Storage, found: Iterable[Hidden]) -> int:
    """Delete what is in front of these. Returns how many objects show again. Raises DeniedError, StorageError."""
    count = 0
    for count, hidden in enumerate(found, 1):  # noqa: B007 - it is the count that is returned
        for version in hidden.in_front:
            assert storage.object_lock
            storage.object_lock.remove(version)
    return count


def _in_front(lock: ObjectLock, versions: Sequence[Version]) -> list[Version]:
    """What has to go so that a name shows its object; nothing if it shows it, or has none."""
    contents = [each for each in versions if not each.hides]
    if not contents or (len(versions) == 1 and versions[0].is_latest):
        return []
    right = next((each for each in reversed(contents) if _is_as_named(lock, each)), None)
    return [each for each in versions if each != right] if right is not None else []


def _is_as_named(lock: ObjectLock, version: Version) -> bool:
    if not version.name.startswith(("packs/", "index/")):
        return True
    return blake3(lock.read(version)).hexdigest() == version.name.rpartition("/")[2]
