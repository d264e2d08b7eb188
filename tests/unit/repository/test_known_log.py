"""A repository whose log this host knows is opened by what is new in it, and never says anything else than the log."""

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.progress import Silence
from holdfast.repository import MemoryStorage, Repository, open_repository
from holdfast.repository.decisions import Pin, Unpin
from holdfast.repository.keyset import KeyRemovedError
from holdfast.repository.known_log import KnownLogFile
from holdfast.repository.log_entry import entry_name
from holdfast.repository.storage.port import Storage
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, check, restored
from tests.support.secrets import a_secret
from tests.support.storage import RecordingStorage

MANY = 300
OTHER = b"battery staple"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def grow(repository: Repository, count: int = MANY) -> None:
    """So many entries more, which come to nothing."""
    point = next(iter(repository.state().points), "none")
    for number in range(count):
        body = Unpin(points=[point]) if number % 2 else Pin(points=[point])
        repository.log.append(lambda _state, _now, body=body: body)  # type: ignore[misc]


def kept(repository: Repository, cache: Path) -> Path:
    return cache / repository.id / "log-1"


def entries_read(storage: Storage, cache: Path | None, passphrase: bytes = PASSPHRASE) -> tuple[list[str], Repository]:
    recording = RecordingStorage(storage)
    opened = open_repository(recording, passphrase, cache)
    return recording.names("get", "log/"), opened


def test_what_was_read_here_before_is_not_read_again(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    back_up_disks(repository, [whole(b"a" * 9000)])
    grow(repository)
    last = repository.log.head.number
    first, _ = entries_read(storage, cache)
    grow(repository, 3)
    second, opened = entries_read(storage, cache)
    assert set(first) >= {entry_name(number) for number in range(1, last + 1)}
    assert second == [entry_name(number) for number in range(last, last + 4)]
    assert opened.log.head == repository.log.head
    assert opened.state() == repository.state() == open_repository(storage, PASSPHRASE).state()
    assert opened.log.hash_of(7) == repository.log.hash_of(7)


def test_who_goes_on_from_what_is_known_decides_as_anybody(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    grow(repository)
    entries_read(storage, cache)
    _, opened = entries_read(storage, cache)
    point = back_up_disks(opened, [whole(b"b" * 9000)]).point
    grow(opened)
    _, again = entries_read(storage, cache)
    assert restored(again, point) == b"b" * 9000
    assert again.state() == repository.state()
    assert check(again).ok


def test_a_log_that_went_on_differently_is_read_from_its_beginning(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    elsewhere = MemoryStorage()
    elsewhere.objects.update(storage.objects)
    grow(repository)
    entries_read(storage, cache)
    other = open_repository(elsewhere, PASSPHRASE)
    grow(other, MANY + 5)
    _, opened = entries_read(elsewhere, cache)
    assert opened.log.head == other.log.head != repository.log.head
    assert opened.state() == other.state()


def test_a_log_that_was_rolled_back_is_taken_as_it_is(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    earlier = dict(storage.objects)
    grow(repository)
    entries_read(storage, cache)
    storage.objects.clear()
    storage.objects.update(earlier)
    _, opened = entries_read(storage, cache)
    assert opened.log.head.number == 1


@pytest.mark.parametrize("instead", [None, entry_name(0), "log/another"])
def test_an_old_entry_that_is_missing_is_missed(
    repository: Repository, storage: MemoryStorage, cache: Path, instead: str | None
) -> None:
    grow(repository)
    entries_read(storage, cache)
    del storage.objects[entry_name(17)]
    if instead:
        storage.objects[instead] = b"something else"
    with pytest.raises(DamagedError, match="000000000017 is missing"):
        entries_read(storage, cache)


def test_an_old_entry_that_is_damaged_is_found_by_the_check(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    grow(repository)
    entries_read(storage, cache)
    storage.objects[entry_name(17)] = bytes(len(storage.objects[entry_name(17)]))
    _, opened = entries_read(storage, cache)
    assert opened.state() == repository.state()
    assert entry_name(17) in {damage.object for damage in opened.check(Silence()).damage}


def test_the_secrets_of_later_epochs_are_taken_from_the_log_again(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    points = []
    for epoch in range(1, 4):
        points.append(back_up_disks(repository, [whole(bytes([epoch]) * 9000)]).point)
        repository.keyring.rotate()
    grow(repository)
    entries_read(storage, cache, OTHER)
    names, opened = entries_read(storage, cache, OTHER)
    assert len(names) == 3 + 1  # the entries that began epochs, and the last one
    assert sorted(opened.keys.epoch_keys) == [1, 2, 3, 4]
    assert [restored(opened, point) for point in points] == [bytes([epoch]) * 9000 for epoch in range(1, 4)]
    opened.keyring.rotate()
    assert repository.state().keys.epoch == 5


def test_who_was_removed_is_told_so(repository: Repository, storage: MemoryStorage, cache: Path) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    objects = {name: blob for name, blob in storage.objects.items() if name.startswith("keys/")}
    grow(repository)
    entries_read(storage, cache, OTHER)
    repository.keyring.remove(2)
    storage.objects.update(objects)
    with pytest.raises(KeyRemovedError):
        entries_read(storage, cache, OTHER)


def flip(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(blob)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [flip, cut, empty, become_a_directory])
def test_a_file_that_is_not_as_it_was_written_is_none(
    repository: Repository, storage: MemoryStorage, cache: Path, spoil: Callable[[Path], None]
) -> None:
    grow(repository)
    entries_read(storage, cache)
    spoil(kept(repository, cache))
    names, opened = entries_read(storage, cache)
    assert len(names) > MANY
    assert opened.state() == repository.state()


def test_what_is_kept_serves_its_own_key_slot_only_and_shows_nothing(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    back_up_disks(repository, [whole(b"a" * 9000)], machine="payroll")
    grow(repository)
    entries_read(storage, cache)
    assert b"payroll" not in kept(repository, cache).read_bytes()
    names, opened = entries_read(storage, cache, OTHER)
    assert len(names) > MANY
    assert opened.state() == repository.state()
    for passphrase in (PASSPHRASE, OTHER):
        names, _ = entries_read(storage, cache, passphrase)
        assert len(names) == 1
    kept(repository, cache).replace(cache / repository.id / "log-2")
    names, _ = entries_read(storage, cache, OTHER)
    assert len(names) > MANY


def test_a_program_that_folds_otherwise_uses_nothing_of_it(
    repository: Repository, storage: MemoryStorage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(repository)
    _, opened = entries_read(storage, cache)
    file = KnownLogFile(cache / repository.id, opened.keys)
    assert file.load()
    monkeypatch.setattr("holdfast.repository.known_log._shape", lambda: b"another")
    assert file.load() is None


def test_a_cache_that_cannot_be_written_fails_nobody(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    cache.write_text("no directory")
    grow(repository)
    for _ in range(2):
        _, opened = entries_read(storage, cache)
        assert opened.state() == repository.state()


def test_a_last_entry_that_cannot_be_read_is_said_and_leaves_what_is_known(
    repository: Repository, storage: MemoryStorage, cache: Path
) -> None:
    grow(repository)
    entries_read(storage, cache)
    last = entry_name(repository.log.head.number)
    blob = storage.objects[last]
    storage.objects[last] = bytes(len(blob))
    with pytest.raises(DamagedError):
        entries_read(storage, cache)
    storage.objects[last] = blob
    names, _ = entries_read(storage, cache)
    assert names == [last]
