"""Who has a key: every slot opens everything, whoever was removed opens nothing that came after."""

import threading
from pathlib import Path

import pytest

from holdfast.core.errors import ConflictError, DamagedError, DeniedError, NotFoundError, RefusedError
from holdfast.core.progress import Silence
from holdfast.repository import LocalDirectory, MemoryStorage, Repository, create_repository, open_repository
from holdfast.repository.decisions import Forget
from holdfast.repository.keys import new_epoch
from holdfast.repository.keyset import KeyRemovedError
from holdfast.repository.recovery import new_recovery_key
from holdfast.repository.signing import Signer
from tests.support.disks import whole
from tests.support.repositories import CHEAP, PASSPHRASE, back_up_disks, check, new_repository, reopened, restored
from tests.support.secrets import a_secret, opens
from tests.support.storage import FaultyStorage

OTHER = b"battery staple"
BEFORE, AFTER = b"before" * 30_000, b"after" * 40_000


def numbers(repository: Repository) -> list[int]:
    return [slot.number for slot in repository.keyring.slots()]


def packs_of_epoch(storage: MemoryStorage, epoch: int) -> set[str]:
    return {
        name
        for name, blob in storage.objects.items()
        if name.startswith("packs/") and int.from_bytes(blob[24:28], "little") == epoch
    }


# --- several slots ----------------------------------------------------------------------------------------------------


def test_every_slot_opens_everything_whoever_made_it(repository: Repository, storage: MemoryStorage) -> None:
    point = back_up_disks(repository, [whole(BEFORE)]).point
    words = new_recovery_key().encode()
    repository.keyring.add(a_secret(OTHER), "the night shift")
    opens_by_other = open_repository(storage, OTHER)
    opens_by_other.keyring.add(a_secret(b"\0" * 64, "key-file"), "")
    open_repository(storage, b"\0" * 64).keyring.add(a_secret(words, "recovery"), "in the safe")
    for content in (PASSPHRASE, OTHER, b"\0" * 64, words):
        opened = open_repository(storage, content)
        assert restored(opened, point) == BEFORE
        assert numbers(opened) == [1, 2, 3, 4]
    slots = repository.keyring.slots()
    assert [(slot.kind, slot.label, slot.may_sign) for slot in slots] == [
        ("passphrase", "", True),
        ("passphrase", "the night shift", True),
        ("key-file", "", True),
        ("recovery", "in the safe", True),
    ]
    assert open_repository(storage, OTHER).keyring.in_use == 2
    assert check(repository).ok


def test_a_secret_that_opens_a_key_opens_no_second_one(repository: Repository, storage: MemoryStorage) -> None:
    """Else who takes one of them away would believe the secret to be revoked."""
    repository.keyring.add(a_secret(OTHER), "", may_sign=False)
    for again in (
        lambda: repository.keyring.add(a_secret(OTHER), ""),
        lambda: repository.keyring.change(a_secret(OTHER)),
    ):
        with pytest.raises(RefusedError, match="opens key 2 already"):
            again()
    repository.keyring.remove(2)
    assert not opens(storage, OTHER)
    repository.keyring.add(a_secret(OTHER), "")


def test_a_slot_of_any_kind_may_be_the_first(storage: MemoryStorage) -> None:

    create_repository(storage, b"\1" * 64, kind="key-file", cost=CHEAP)
    (slot,) = open_repository(storage, b"\1" * 64).keyring.slots()
    assert (slot.number, slot.kind) == (1, "key-file")


def test_a_recovery_key_opens_however_it_is_typed(repository: Repository, storage: MemoryStorage) -> None:
    words = new_recovery_key()
    repository.keyring.add(a_secret(words.encode(), "recovery"), "")
    short = " ".join(word[:4] for word in words.split())
    for typed in (words, f"  {words.upper()}\n", words.replace(" ", "\n"), short):
        assert opens(storage, typed.encode()), typed


def test_a_typing_error_in_a_recovery_key_is_found_and_said(repository: Repository, storage: MemoryStorage) -> None:
    words = new_recovery_key().split()
    repository.keyring.add(a_secret(" ".join(words).encode(), "recovery"), "")
    words[6] = "backapp"
    with pytest.raises(DeniedError, match="word 7 of the recovery key, 'backapp'") as caught:
        open_repository(storage, " ".join(words).encode())
    assert caught.value.code == "recovery-key"


def test_a_backup_only_key_backs_up_and_restores_and_signs_nothing(
    repository: Repository, storage: MemoryStorage
) -> None:
    repository.keyring.add(a_secret(OTHER), "a mover", may_sign=False)
    mover = open_repository(storage, OTHER)
    point = back_up_disks(mover, [whole(BEFORE)]).point
    assert restored(mover, point) == BEFORE
    for change in (
        lambda: mover.keyring.add(a_secret(b"x"), ""),
        lambda: mover.keyring.change(a_secret(b"x")),
        lambda: mover.keyring.remove(1),
        mover.keyring.rotate,
    ):
        with pytest.raises(DeniedError) as caught:
            change()
        assert caught.value.code == "no-signing-key"
    repository.keyring.rotate()
    assert mover.log.read().keys.epoch == 2
    with pytest.raises(DeniedError):
        mover.keyring.rotate()
    assert numbers(repository) == [1, 2]


# --- the three verbs --------------------------------------------------------------------------------------------------


def test_a_changed_passphrase_opens_instead_of_the_old_one_and_nothing_is_sealed_anew(
    repository: Repository, storage: MemoryStorage
) -> None:
    point = back_up_disks(repository, [whole(BEFORE)]).point
    packs = {name for name in storage.objects if name.startswith("packs/")}
    old = {name: blob for name, blob in storage.objects.items() if name.startswith("keys/")}
    repository.keyring.change(a_secret(OTHER))
    assert repository.keyring.sweep() == []
    assert opens(storage, PASSPHRASE) is None
    opened = open_repository(storage, OTHER)
    assert restored(opened, point) == BEFORE
    assert (numbers(opened), opened.log.state.keys.epoch) == ([2], 1)
    assert {name for name in storage.objects if name.startswith("packs/")} == packs
    assert not old.keys() & storage.objects.keys()


def test_a_backup_under_way_survives_a_change_of_its_passphrase(repository: Repository, storage: MemoryStorage) -> None:
    elsewhere = reopened(repository)
    repository.keyring.change(a_secret(OTHER))
    point = back_up_disks(elsewhere, [whole(BEFORE)]).point
    assert restored(open_repository(storage, OTHER), point) == BEFORE


def test_who_came_in_by_a_key_that_was_changed_decides_nothing_about_keys(
    repository: Repository, storage: MemoryStorage
) -> None:
    elsewhere = reopened(repository)
    repository.keyring.change(a_secret(OTHER))
    for change in (lambda: elsewhere.keyring.add(a_secret(b"x"), ""), elsewhere.keyring.rotate):
        with pytest.raises(KeyRemovedError):
            change()
    assert {name for name in storage.objects if name.startswith("keys/")} >= {"keys/2", "keys/2.2"}
    assert not any(name.startswith("keys/3") for name in storage.objects)
    assert numbers(open_repository(storage, OTHER)) == [2]


def test_after_a_removal_new_packs_are_sealed_in_an_epoch_the_removed_cannot_enter(
    repository: Repository, storage: MemoryStorage
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    repository.keyring.add(a_secret(b"third"), "")
    thief = open_repository(storage, OTHER)
    first = back_up_disks(repository, [whole(BEFORE)]).point
    assert repository.keyring.remove(2) == 2
    second = back_up_disks(repository, [whole(AFTER)]).point
    assert packs_of_epoch(storage, 1)
    assert packs_of_epoch(storage, 2)
    for content in (PASSPHRASE, b"third"):
        opened = open_repository(storage, content)
        assert [restored(opened, point) for point in (first, second)] == [BEFORE, AFTER]
        assert numbers(opened) == [1, 3]
    assert 2 not in thief.keys.epoch_keys
    with pytest.raises(KeyRemovedError):
        thief.log.read()
    with pytest.raises(DamagedError, match="epoch 2"):
        thief.keys.sealer(b"pack", 2, bytes(32))
    assert check(repository).ok


def test_a_rotation_hands_the_new_epoch_to_every_slot(repository: Repository, storage: MemoryStorage) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    running = open_repository(storage, OTHER)
    first = back_up_disks(running, [whole(BEFORE)]).point
    assert [repository.keyring.rotate() for _ in range(3)] == [2, 3, 4]
    second = back_up_disks(running, [whole(AFTER)]).point
    for content in (PASSPHRASE, OTHER):
        opened = open_repository(storage, content)
        assert opened.keys.epoch == 4
        assert [restored(opened, point) for point in (first, second)] == [BEFORE, AFTER]
    later = repository.keyring.add(a_secret(b"third"), "")
    assert restored(open_repository(storage, b"third"), second) == AFTER
    assert later.number == 3


def test_what_is_signed_after_a_rotation_is_signed_with_the_new_key(
    repository: Repository, storage: MemoryStorage
) -> None:
    before = repository.keys.signing_seed
    repository.keyring.rotate()
    assert repository.keys.signing_seed != before
    repository.keyring.rotate()
    assert open_repository(storage, PASSPHRASE).log.state.voids == ()


class Stuck(Signer):
    """Signs with an old seed, whatever epoch has begun."""

    def follow(self, public_key: str, seed: bytes | None) -> None:
        if not hasattr(self, "public_key"):
            super().follow(public_key, seed)


def test_an_old_signing_key_signs_nothing_any_more(repository: Repository, storage: MemoryStorage) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    stale = open_repository(storage, OTHER)
    seed, public = stale.keys.signing_seed, stale.log.state.keys.signing_key
    repository.keyring.rotate()
    stale.log.read()
    stale.log.signer = Stuck(public, seed)  # somebody who has the epoch's key, a mover, and once had the old seed
    point = back_up_disks(repository, [whole(BEFORE)]).point

    stale.log.read()
    assert stale.log.append(lambda _state, _now: Forget(points=[point.id]))
    opened = open_repository(storage, PASSPHRASE)
    assert [each.id for each in opened.points()] == [point.id]
    assert [void.kind for void in opened.log.state.voids] == ["forget"]


def test_a_storage_that_lets_nothing_be_deleted_is_told_and_the_key_is_removed(
    repository: Repository, storage: MemoryStorage
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    faulty = FaultyStorage(storage)
    faulty.undeletable |= dict.fromkeys(("keys/2", "keys/2.2"), DeniedError("no right to delete"))
    opened = open_repository(faulty, PASSPHRASE)
    assert opened.keyring.remove(2) == 2
    assert opened.keyring.sweep() == [2]
    assert opens(storage, OTHER) is None
    assert repository.log.read()
    assert repository.keyring.sweep() == []
    assert "keys/2" not in storage.objects


# --- writers beside a change ------------------------------------------------------------------------------------------


def test_a_backup_that_began_before_a_rotation_is_committed_and_readable_by_all(
    repository: Repository, storage: MemoryStorage
) -> None:
    """Its packs stay in the epoch they were sealed in, the entry is sealed in the new one."""
    repository.keyring.add(a_secret(OTHER), "")
    writer = open_repository(storage, OTHER)
    capture = whole(BEFORE)
    original = type(writer.log).append

    def rotate_first(log: object, *arguments: object, **more: object) -> object:
        repository.keyring.rotate()
        return original(log, *arguments, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.log, "append", rotate_first.__get__(writer.log))
        point = back_up_disks(writer, [capture]).point
    assert packs_of_epoch(storage, 1)
    assert not packs_of_epoch(storage, 2)
    for content in (PASSPHRASE, OTHER):
        assert restored(open_repository(storage, content), point) == BEFORE


def test_a_backup_whose_key_is_removed_meanwhile_is_not_committed(
    repository: Repository, storage: MemoryStorage
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    removed = open_repository(storage, OTHER)
    repository.keyring.remove(2)
    for _ in range(2):
        with pytest.raises(KeyRemovedError, match="key 2"):
            back_up_disks(removed, [whole(BEFORE)])
    assert reopened(repository).points() == []


def test_a_key_added_beside_a_rotation_is_refused_and_leaves_nothing(
    repository: Repository, storage: MemoryStorage
) -> None:
    elsewhere = reopened(repository)
    original = elsewhere.log.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elsewhere.log, "append", lambda make: (repository.keyring.rotate(), original(make))[1])
        with pytest.raises(ConflictError) as caught:
            elsewhere.keyring.add(a_secret(OTHER), "")
    assert caught.value.code == "epoch-began"
    assert opens(storage, OTHER) is None
    assert {name for name in storage.objects if name.startswith("keys/")} == {"keys/1", "keys/1.2"}
    elsewhere.keyring.add(a_secret(OTHER), "")
    assert opens(storage, OTHER)


def test_many_who_add_keys_at_once_all_succeed(repository: Repository, storage: MemoryStorage) -> None:
    adders = [
        threading.Thread(target=reopened(repository).keyring.add, args=(a_secret(b"%d" % number), str(number)))
        for number in range(8)
    ]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    assert numbers(reopened(repository)) == list(range(1, 10))
    assert all(opens(storage, b"%d" % number) for number in range(8))


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_slot_in_use_and_so_the_last_one_cannot_be_removed(repository: Repository, storage: MemoryStorage) -> None:
    with pytest.raises(RefusedError) as caught:
        repository.keyring.remove(1)
    assert caught.value.code == "key-in-use"
    repository.keyring.add(a_secret(OTHER), "")
    with pytest.raises(RefusedError):
        repository.keyring.remove(1)
    other = open_repository(storage, OTHER)
    other.keyring.remove(1)
    assert opens(storage, PASSPHRASE) is None
    with pytest.raises(RefusedError):
        other.keyring.remove(2)


def test_a_key_that_is_not_there_cannot_be_removed(repository: Repository) -> None:
    with pytest.raises(NotFoundError):
        repository.keyring.remove(7)
    assert repository.log.read().number == 1


def test_there_is_a_most_of_keys(
    repository: Repository, storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.keyset.MAXIMUM_SLOTS", 2)
    repository.keyring.add(a_secret(OTHER), "")
    with pytest.raises(RefusedError) as caught:
        repository.keyring.add(a_secret(b"third"), "")
    assert caught.value.code == "too-many-keys"
    assert opens(storage, b"third") is None
    assert not repository.keyring.unfinished()


# --- names and like ---------------------------------------------------------------------------------------------------


def test_a_lost_name_of_a_slot_is_put_again_by_the_next_backup(repository: Repository, storage: MemoryStorage) -> None:
    for name in ("keys/1", "keys/1.2"):
        blob = storage.objects.pop(name)
        back_up_disks(reopened(repository), [whole(b"content")])
        assert storage.objects[name] == blob


def test_nobody_shows_a_secret_when_printed(repository: Repository) -> None:

    holder = repository.keys.holder
    shown = " ".join(map(repr, (repository.keys, holder, new_epoch(3), a_secret(OTHER), repository)))
    assert repository.keys.signing_seed
    for secret in (
        repository.keys.content_secret,
        *repository.keys.epoch_keys.values(),
        repository.keys.signing_seed,
        OTHER,
    ):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_repository_like_another_names_blocks_as_it_does_and_seals_with_keys_of_its_own(
    repository: Repository,
) -> None:

    twin_repository = create_repository(MemoryStorage(), OTHER, cost=CHEAP, like=repository)
    stranger = new_repository()
    roots = [
        back_up_disks(each, [whole(BEFORE)]).point.disks[0].root for each in (repository, twin_repository, stranger)
    ]
    assert roots[0] == roots[1] != roots[2]
    assert repository.names_alike(reopened(repository))
    assert repository.names_alike(open_repository(twin_repository.storage, OTHER))
    assert not repository.names_alike(stranger)
    assert twin_repository.id != repository.id
    assert twin_repository.keys.epoch_keys != repository.keys.epoch_keys
    assert twin_repository.config.signing_key != repository.config.signing_key


def test_the_objects_of_one_repository_do_not_open_another_like_it(tmp_path: Path) -> None:

    first = new_repository(LocalDirectory.create(tmp_path / "first"))
    create_repository(LocalDirectory.create(tmp_path / "second"), PASSPHRASE, cost=CHEAP, like=first)
    for name in ("config", "config.2"):
        (tmp_path / "second" / name).write_bytes((tmp_path / "first" / name).read_bytes())
    with pytest.raises(DamagedError):
        open_repository(LocalDirectory.open(tmp_path / "second"), PASSPHRASE).check(Silence())
