"""What every store that keeps versions and locks them promises. Each implementation's tests subclass this."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.repository import Storage
from holdfast.repository.storage.port import ObjectLock, ObjectMissingError, Version

NAME = "packs/ab/abcd"


def in_days(count: int) -> datetime:
    return (datetime.now(UTC) + timedelta(days=count)).replace(microsecond=0)


def lock_of(storage: Storage) -> ObjectLock:
    assert storage.object_lock is not None
    return storage.object_lock


class ObjectLockContract:
    """Subclasses give `storage`, empty, which locks, `plain`, which does not, and `overwrite`."""

    def overwrite(self, storage: Storage, name: str, content: bytes) -> None:
        """Put other bytes under a name that is taken, as whoever may write can."""
        raise NotImplementedError

    def test_it_says_whether_it_locks(self, storage: Storage, plain: Storage) -> None:
        assert lock_of(storage).is_enabled()
        assert plain.object_lock is None or not plain.object_lock.is_enabled()

    def test_what_is_locked_cannot_be_deleted_and_what_is_not_can(self, storage: Storage) -> None:
        lock = lock_of(storage)
        for name in (NAME, "packs/ab/other"):
            storage.put(name, [b"content"])
        lock.lock(NAME, in_days(2))
        locked, other = lock.versions("packs/ab/")
        with pytest.raises(DeniedError):
            lock.remove(locked)
        lock.remove(other)
        storage.delete(NAME)
        assert list(storage.list("packs/")) == []
        assert lock.read(locked) == b"content"

    def test_a_lock_is_made_longer_and_never_shorter(self, storage: Storage) -> None:
        lock = lock_of(storage)
        storage.put(NAME, [b"content"])
        assert not lock.retention(NAME).in_force
        for asked, then in ((2, 2), (5, 5), (3, 5), (5, 5)):
            lock.lock(NAME, in_days(asked))
            kept = lock.retention(NAME)
            assert kept.until is not None
            assert kept.in_force
            assert abs(kept.until - in_days(then)) < timedelta(minutes=1)
            assert abs(kept.now - datetime.now(UTC)) < timedelta(minutes=1)

    def test_a_time_that_is_over_is_refused(self, storage: Storage) -> None:
        storage.put(NAME, [b"content"])
        with pytest.raises(HoldfastError):
            lock_of(storage).lock(NAME, in_days(-365))
        assert not lock_of(storage).retention(NAME).in_force

    def test_what_is_not_there_cannot_be_locked(self, storage: Storage) -> None:
        storage.put(f"{NAME}.2", [b"of a longer name"])
        with pytest.raises(ObjectMissingError):
            lock_of(storage).lock(NAME, in_days(2))
        with pytest.raises(ObjectMissingError):
            lock_of(storage).retention(NAME)

    def test_the_oldest_version_is_locked_whatever_was_put_over_it(self, storage: Storage) -> None:
        lock = lock_of(storage)
        storage.put(NAME, [b"content"])
        self.overwrite(storage, NAME, b"garbage")
        storage.delete(NAME)
        lock.lock(NAME, in_days(2))
        for version in list(lock.versions(NAME)):
            if version.hides or lock.read(version) == b"garbage":
                lock.remove(version)
        assert storage.get(NAME) == b"content"
        assert lock.retention(NAME).in_force

    def test_versions_of_a_name_come_newest_first_and_marks_after_them(self, storage: Storage) -> None:
        lock = lock_of(storage)
        storage.put(NAME, [b"first"])
        self.overwrite(storage, NAME, b"second")
        storage.delete(NAME)
        storage.put("packs/ab/other", [b"other"])
        versions = list(lock.versions("packs/"))
        assert [(each.name, each.hides, each.is_latest) for each in versions] == [
            (NAME, False, False),
            (NAME, False, False),
            (NAME, True, True),
            ("packs/ab/other", False, True),
        ]
        assert [lock.read(each) for each in versions[:2]] == [b"second", b"first"]
        with pytest.raises(ObjectMissingError):
            lock.read(Version(NAME, versions[3].id, 5, hides=False, is_latest=True))

    def test_a_hidden_object_shows_again_without_its_mark(self, storage: Storage) -> None:
        lock = lock_of(storage)
        storage.put(NAME, [b"content"])
        storage.delete(NAME)
        (mark,) = [each for each in lock.versions("") if each.hides]
        lock.remove(mark)
        assert storage.get(NAME) == b"content"
