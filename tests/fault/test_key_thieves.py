"""Slots and entries that a thief puts there: refused, whatever they are."""

import json

import msgspec
import pytest
from blake3 import blake3

from holdfast.core.errors import DamagedError, DeniedError
from holdfast.repository import MemoryStorage, Repository, open_repository
from holdfast.repository.decisions import Hold, encode_body
from holdfast.repository.framing import ENTRY, SLOT, twin, untwin
from holdfast.repository.keyring import put_slot, slot_names
from holdfast.repository.keys import new_keys
from holdfast.repository.keyset import KeyRemovedError
from holdfast.repository.log_entry import Header
from holdfast.repository.slots import NewSlot
from tests.support.repositories import PASSPHRASE
from tests.support.secrets import a_secret, opens
from tests.support.storage import FaultyStorage, PowerCut, lost

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


# --- thieves ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotations", [0, 1])
def test_a_removed_slot_that_a_thief_puts_back_is_refused(
    repository: Repository, storage: MemoryStorage, rotations: int
) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    stolen = {name: storage.objects[name] for name in ("keys/2", "keys/2.2")}
    repository.keyring.remove(2)
    for _ in range(rotations):
        repository.keyring.rotate()
    storage.objects |= stolen
    with pytest.raises(KeyRemovedError, match="key 2 is not one of the repository's") as caught:
        open_repository(storage, OTHER)
    assert caught.value.code == "key-removed"
    assert opens(storage, PASSPHRASE)
    repository.keyring.sweep()
    assert not stolen.keys() & storage.objects.keys()


def test_a_changed_slot_that_a_thief_puts_back_is_refused(repository: Repository, storage: MemoryStorage) -> None:
    stolen = {name: storage.objects[name] for name in ("keys/1", "keys/1.2")}
    repository.keyring.change(a_secret(OTHER))
    storage.objects |= stolen
    with pytest.raises(KeyRemovedError, match="key 1"):
        open_repository(storage, PASSPHRASE)
    assert opens(storage, OTHER)


def test_a_removed_slot_under_another_number_is_refused(repository: Repository, storage: MemoryStorage) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    stolen = storage.objects["keys/2"]
    repository.keyring.remove(2)
    repository.keyring.add(a_secret(b"third"), "")
    storage.objects |= {"keys/3": stolen, "keys/4": stolen}
    assert opens(storage, OTHER) is None
    assert opens(storage, b"third"), "its second name serves"


def test_the_slot_of_an_addition_that_was_given_up_is_refused_in_place_of_a_later_one(
    repository: Repository, storage: MemoryStorage
) -> None:
    faulty = FaultyStorage(storage)
    with pytest.raises(PowerCut), faulty.at_put(3, lost):
        open_repository(faulty, PASSPHRASE).keyring.add(a_secret(OTHER), "")
    stolen = storage.objects["keys/2"]
    assert repository.keyring.unfinished() == [2]
    assert opens(storage, OTHER) is None
    del storage.objects["keys/2"], storage.objects["keys/2.2"]  # by hand, so no epoch tells the two apart
    assert repository.keyring.add(a_secret(b"third"), "").number == 2
    storage.objects["keys/2"] = stolen
    assert opens(storage, OTHER) is None
    assert opens(storage, b"third")


def test_a_secret_that_was_removed_and_added_again_opens(repository: Repository, storage: MemoryStorage) -> None:
    repository.keyring.add(a_secret(OTHER), "")
    stolen = storage.objects["keys/2"]
    repository.keyring.remove(2)
    repository.keyring.add(a_secret(OTHER), "")
    storage.objects["keys/2"] = stolen
    opened = open_repository(storage, OTHER)
    assert opened.keyring.in_use == 3


def test_a_log_rolled_back_to_before_a_slot_is_refused_by_that_slot(
    repository: Repository, storage: MemoryStorage
) -> None:
    """On a computer that has never seen the repository: the slot itself says that it came later."""
    repository.keyring.add(a_secret(OTHER), "")
    del storage.objects["log/000000000002"]
    with pytest.raises(KeyRemovedError, match="key 2") as caught:
        open_repository(storage, OTHER)
    assert "rolled back" in caught.value.hint


def test_entries_of_an_old_epoch_are_refused_after_it(repository: Repository, storage: MemoryStorage) -> None:
    """Somebody whose key was removed, and who may still write to the storage, commits nothing."""
    repository.keyring.add(a_secret(OTHER), "")
    thief = open_repository(storage, OTHER)
    repository.keyring.remove(2)

    state = repository.log.read()

    before = untwin(ENTRY, storage.objects[f"log/{state.number:012}"], "").payload
    header = Header("hold", state.number + 1, blake3(before).hexdigest(), 1, 1, (b"\7" * 32).hex())
    line = msgspec.json.encode(header) + b"\n"
    body = encode_body(Hold(points=[], hold="x"), repository.log.clock(), "thief")
    sealed = thief.keys.sealer(b"entry", 1, b"\7" * 32).encrypt(bytes(12), body, line)
    storage.objects[f"log/{state.number + 1:012}"] = twin(ENTRY, line + sealed)
    with pytest.raises(DamagedError, match="sealed in epoch 1") as caught:
        open_repository(storage, PASSPHRASE)
    assert caught.value.code == "log-epoch"


def test_a_slot_that_opens_and_gives_other_keys_is_refused(storage: MemoryStorage, repository: Repository) -> None:
    """A thief's own slot with secrets of his own: the configuration's MAC does not fit them."""

    own = new_keys(repository.keys.repository_id)
    put_slot(storage, own, a_secret(b"thief"), NewSlot(number=9, generation=1, slots=[9], kind="passphrase"))
    assert set(slot_names(9)) <= storage.objects.keys()
    with pytest.raises(DamagedError, match="changed by someone without its keys"):
        open_repository(storage, b"thief")
    assert opens(storage, PASSPHRASE)


@pytest.mark.parametrize("count", [300])
def test_a_flood_of_slots_is_an_error_and_no_endless_trying(
    repository: Repository, storage: MemoryStorage, count: int
) -> None:
    storage.objects |= {f"keys/{number}": storage.objects["keys/1"] for number in range(2, count)}
    with pytest.raises(DamagedError) as caught:
        open_repository(storage, b"wrong")
    assert caught.value.code == "too-many-slots"


def test_a_wrong_passphrase_is_told_as_that_beside_slots_that_are_none(
    repository: Repository, storage: MemoryStorage
) -> None:
    storage.objects["keys/3"] = b"garbage"
    with pytest.raises(DeniedError, match=r"does not open .*keys/3") as caught:
        open_repository(storage, b"wrong")
    assert caught.value.code == "wrong-passphrase"
    assert opens(storage, PASSPHRASE)


def test_costly_slots_of_a_stranger_are_tried_last(repository: Repository, storage: MemoryStorage) -> None:

    slot = json.loads(untwin(SLOT, storage.objects["keys/1"], "keys/1").payload)
    slot["kdf"] |= {"memory_kib": 2 * 1024 * 1024, "iterations": 16}
    storage.objects["keys/0"] = twin(SLOT, json.dumps(slot).encode())
    assert opens(storage, PASSPHRASE)
