"""A store that keeps every version of a name and locks versions, in memory: what S3 does with object lock."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import NamedTuple

from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.repository.storage.port import (
    Bytes,
    ObjectExistsError,
    ObjectMissingError,
    Retention,
    StorageError,
    Stored,
    Version,
)


class Kept(NamedTuple):
    """One version: None for a mark that hides what came before."""

    id: str
    content: bytes | None


@dataclass
class Shelf:
    """What all who use the store share. `now` is its own clock."""

    versions: dict[str, list[Kept]] = field(default_factory=lambda: defaultdict(list))
    until: dict[str, datetime] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    count: int = 0
    lock: RLock = field(default_factory=RLock)

    def add(self, name: str, content: bytes | None) -> None:
        """A newer version of a name: whoever may write may do that to any name."""
        with self.lock:
            self.count += 1
            self.versions[name].append(Kept(f"v{self.count}", content))

    def is_locked(self, version: str) -> bool:
        return version in self.until and self.until[version] > self.now()


class VersionedStorage:
    """The storage port over a shelf."""

    puts_at_once = 1
    reads_at_once = 1
    ballast = None
    url = "memory:"

    def __init__(self, shelf: Shelf | None = None, *, locks: bool = True) -> None:
        self.shelf = shelf or Shelf()
        self.object_lock = ShelfLock(self.shelf, enabled=locks)

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        del verify_share
        content = b"".join(parts)
        with self.shelf.lock:
            there = self._latest(name)
            if there is None:
                self.shelf.add(name, content)
            elif there != content:
                raise ObjectExistsError(f"{name} exists with other content")

    def get(self, name: str) -> bytes:
        content = self._latest(name)
        if content is None:
            raise ObjectMissingError(f"no object {name}")
        return content

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        piece = self.get(name)[offset : offset + len(buffer)]
        if len(piece) < len(buffer):
            raise StorageError(f"{name} is too short")
        buffer[:] = piece

    def size(self, name: str) -> int:
        return len(self.get(name))

    def delete(self, *names: str) -> None:
        with self.shelf.lock:
            for name in names:
                if self._latest(name) is not None:
                    self.shelf.add(name, None)

    def list(self, prefix: str) -> Iterator[Stored]:
        with self.shelf.lock:
            contents = {name: self._latest(name) for name in self.shelf.versions if name.startswith(prefix)}
        return iter([Stored(name, len(content)) for name, content in contents.items() if content is not None])

    def _latest(self, name: str) -> bytes | None:
        with self.shelf.lock:
            kept = self.shelf.versions.get(name)
            return kept[-1].content if kept else None


class ShelfLock:
    """Versions and locks of a shelf. `failures` are what the next calls of `lock` raise, None for those that work."""

    def __init__(self, shelf: Shelf, *, enabled: bool = True) -> None:
        self.shelf = shelf
        self.enabled = enabled
        self.locked: list[str] = []
        """The names whose lock was asked for, in order."""
        self.asked: list[str] = []
        """The names whose lock was looked at."""
        self.failures: list[HoldfastError | None] = []
        self.before_lock: Callable[[str], None] = lambda _name: None

    def is_enabled(self) -> bool:
        return self.enabled

    def lock(self, name: str, until: datetime) -> None:
        self.before_lock(name)
        with self.shelf.lock:
            self.locked.append(name)
            if self.failures and (failure := self.failures.pop(0)) is not None:
                raise failure
            if not self.enabled or until <= self.shelf.now():
                raise StorageError(f"{name} cannot be locked until {until}")
            version = self._object(name)
            self.shelf.until[version] = max(until, self.shelf.until.get(version, until))

    def retention(self, name: str) -> Retention:
        with self.shelf.lock:
            self.asked.append(name)
            return Retention(self.shelf.until.get(self._object(name)), self.shelf.now())

    def versions(self, prefix: str) -> Iterator[Version]:
        with self.shelf.lock:
            found = []
            for name in sorted(self.shelf.versions):
                if name.startswith(prefix):
                    kept = self.shelf.versions[name]
                    rows = [
                        Version(name, each.id, len(each.content or b""), each.content is None, each == kept[-1])
                        for each in reversed(kept)
                    ]
                    found += sorted(rows, key=lambda row: row.hides)
        return iter(found)

    def read(self, version: Version) -> bytes:
        for each in self.shelf.versions.get(version.name, []):
            if each.id == version.id and each.content is not None:
                return each.content
        raise ObjectMissingError(f"no version {version.id} of {version.name}")

    def remove(self, version: Version) -> None:
        with self.shelf.lock:
            if self.shelf.is_locked(version.id):
                raise DeniedError(f"{version.name} is locked", code="store-denied")
            kept = self.shelf.versions[version.name]
            kept[:] = [each for each in kept if each.id != version.id]
            if not kept:
                del self.shelf.versions[version.name]

    def _object(self, name: str) -> str:
        for each in self.shelf.versions.get(name, []):
            if each.content is not None:
                return each.id
        raise ObjectMissingError(f"no object {name}")


def destroy(storage: VersionedStorage) -> None:
    """What a thief with every right does: hide every name, put garbage over it, delete each version that may be."""
    lock = storage.object_lock
    for name in list(storage.shelf.versions):
        storage.shelf.add(name, None)
        storage.shelf.add(name, b"garbage")
    for version in list(lock.versions("")):
        if not storage.shelf.is_locked(version.id):
            lock.remove(version)


def in_days(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=count)
