"""What cannot or must not be opened: each case has its own clear error, and costs neither time nor memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from holdfast.core.errors import DamagedError, DeniedError, HoldfastError, NotFoundError, RefusedError
from holdfast.core.progress import Silence
from holdfast.repository import LocalDirectory, MemoryStorage, Repository, open_repository
from holdfast.repository import config as configuration
from holdfast.repository.config import Config
from holdfast.repository.framing import CONFIG, ENTRY, SLOT, frame, twin, unframe, untwin
from holdfast.repository.keyring import slot_names
from holdfast.repository.storage.port import StorageError
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, restored
from tests.support.storage import FaultyStorage

SLOT_NAMES = slot_names(1)


def reconfigure(storage: MemoryStorage, repository: Repository, **changes: Any) -> None:
    """The configuration as somebody with the keys, a newer program perhaps, would have written it."""
    body = json.loads(msgspec.json.encode(repository.config)) | changes
    text = json.dumps(body)
    envelope = json.dumps({"body": text, "mac": repository.keys.config_mac(text.encode())})
    for name in configuration.NAMES:
        storage.objects[name] = frame(CONFIG, envelope.encode())


def add_entry(storage: MemoryStorage, repository: Repository, kind: str, body: bytes, **more: Any) -> None:
    """A log entry as docs/format.md says, of any kind."""
    number = repository.log.read().number
    before = untwin(ENTRY, storage.objects[f"log/{number:012}"], "entry").payload
    salt = os.urandom(32)
    header = {
        "kind": kind,
        "number": number + 1,
        "previous": blake3(before).hexdigest(),
        "base": number,
        "epoch": 1,
        "salt": salt.hex(),
    } | more
    line = json.dumps(header).encode() + b"\n"
    sealed = repository.keys.sealer(b"entry", 1, salt).encrypt(bytes(12), body, line)
    storage.objects[f"log/{number + 1:012}"] = twin(ENTRY, line + sealed)


# --- wrong place, wrong passphrase ------------------------------------------------------------------------------------


def test_an_empty_place_is_no_repository(storage: MemoryStorage) -> None:
    with pytest.raises(NotFoundError, match="no repository") as caught:
        open_repository(storage, PASSPHRASE)
    assert (caught.value.code, bool(caught.value.hint)) == ("no-repository", True)


@pytest.mark.parametrize("passphrase", [b"wrong", b"", PASSPHRASE + b"\n", PASSPHRASE[:-1], b"x" * 100_000, b"\xff\0"])
def test_a_wrong_passphrase_is_denied(repository: Repository, storage: MemoryStorage, passphrase: bytes) -> None:
    with pytest.raises(DeniedError, match="passphrase") as caught:
        open_repository(storage, passphrase)
    assert (caught.value.code, caught.value.exit_status) == ("wrong-passphrase", 5)
    assert caught.value.hint


def test_the_keys_of_another_repository_do_not_open_this_one(repository: Repository, storage: MemoryStorage) -> None:
    other = MemoryStorage()
    new_repository(other)
    storage.objects |= {name: other.objects[name] for name in SLOT_NAMES}
    with pytest.raises(DamagedError, match="keys/1"):
        open_repository(storage, PASSPHRASE)


def test_the_log_of_another_repository_is_not_taken_for_this_ones(
    repository: Repository, storage: MemoryStorage
) -> None:
    other = MemoryStorage()
    new_repository(other)
    storage.objects["log/000000000001"] = other.objects["log/000000000001"]
    with pytest.raises(DamagedError, match="log/000000000001"):
        open_repository(storage, PASSPHRASE)


# --- newer than this program ------------------------------------------------------------------------------------------


def require_newer(storage: MemoryStorage, named: str) -> None:
    with pytest.raises(RefusedError, match=named) as caught:
        open_repository(storage, PASSPHRASE)
    assert (caught.value.code, caught.value.exit_status) == ("newer-format", 6)
    assert "newer version" in caught.value.hint


@pytest.mark.parametrize("number", [0, 2, 99])
def test_another_format_is_refused_whatever_else_its_configuration_says(
    repository: Repository, storage: MemoryStorage, number: int
) -> None:
    reconfigure(storage, repository, format=number, features="none", cut=None, invented=[1, 2])
    require_newer(storage, f"format {number}")


def test_a_feature_that_reading_needs_and_that_is_unknown_is_refused_by_name(
    repository: Repository, storage: MemoryStorage
) -> None:
    reconfigure(storage, repository, features={"read": ["time-travel"], "write": [], "collect": []})
    require_newer(storage, "time-travel")


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {"read": [], "write": ["time-travel"], "collect": []}},
        {"cut": {"algorithm": "time-travel", "block_bytes": 4096}},
    ],
)
def test_what_only_writing_needs_stops_writers_and_no_reader(
    repository: Repository, storage: MemoryStorage, changes: dict[str, Any]
) -> None:
    point = back_up_disks(repository, [whole(b"content")]).point
    reconfigure(storage, repository, **changes)
    before = dict(storage.objects)
    opened = open_repository(storage, PASSPHRASE)
    assert restored(opened, point) == b"content"
    with pytest.raises(RefusedError, match="time-travel"):
        back_up_disks(opened, [whole(b"more")], parent=point)
    assert storage.objects == before


def test_a_feature_that_only_collectors_need_keeps_nobody_else_out(
    repository: Repository, storage: MemoryStorage
) -> None:
    reconfigure(storage, repository, features={"read": [], "write": [], "collect": ["time-travel"]})
    opened = open_repository(storage, PASSPHRASE)
    assert restored(opened, back_up_disks(opened, [whole(b"content")]).point) == b"content"


def test_an_entry_of_an_unknown_kind_stops_readers_and_writers(repository: Repository, storage: MemoryStorage) -> None:
    """What it decided may forbid what they are about to do."""
    point = back_up_disks(repository, [whole(b"content")]).point
    opened_before = open_repository(storage, PASSPHRASE)
    add_entry(storage, repository, "absolve", b"{}")
    require_newer(storage, "absolve")
    before = dict(storage.objects)
    with pytest.raises(RefusedError, match="absolve"):
        back_up_disks(opened_before, [whole(b"more")], parent=point)
    assert storage.objects == before


def test_a_field_unknown_in_an_entrys_line_is_refused(repository: Repository, storage: MemoryStorage) -> None:
    add_entry(storage, repository, "commit", b'{"points": []}', invented=1)
    with pytest.raises(HoldfastError, match="log/000000000002"):
        open_repository(storage, PASSPHRASE)


@pytest.mark.parametrize("lie", [{"number": 7}, {"number": 1}, {"previous": "0" * 64}])
def test_an_entry_that_does_not_follow_the_one_before_it_ends_the_log_there(
    repository: Repository, storage: MemoryStorage, lie: dict[str, Any]
) -> None:
    add_entry(storage, repository, "commit", b'{"points": []}', **lie)
    with pytest.raises(DamagedError, match="log/000000000002 does not follow") as caught:
        open_repository(storage, PASSPHRASE)
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"{}", b"[]", b"\xff", b'{"points": [{"id": 5}]}', b'{"points": 7}'])
def test_a_commit_whose_body_this_program_cannot_read_was_written_by_a_newer_one(
    repository: Repository, storage: MemoryStorage, body: bytes
) -> None:
    add_entry(storage, repository, "commit", body)
    require_newer(storage, "log/000000000002")


def test_fields_unknown_in_points_and_disks_are_ignored(repository: Repository, storage: MemoryStorage) -> None:
    point = back_up_disks(repository, [whole(b"content")]).point
    told = json.loads(msgspec.json.encode(point)) | {"id": "0" * 16, "invented": {"deep": 1}}
    told["disks"][0]["invented"] = 1
    add_entry(storage, repository, "commit", json.dumps({"points": [told], "invented": 1}).encode())
    opened = open_repository(storage, PASSPHRASE)
    assert [restored(opened, each) for each in opened.points()] == [b"content", b"content"]


# --- forged -----------------------------------------------------------------------------------------------------------


def test_a_configuration_changed_without_the_keys_is_noticed(repository: Repository, storage: MemoryStorage) -> None:
    envelope = json.loads(unframe(CONFIG, storage.objects["config"], "config"))
    envelope["body"] = envelope["body"].replace('"boundary_bits":3', '"boundary_bits":4')
    for name in configuration.NAMES:
        storage.objects[name] = frame(CONFIG, json.dumps(envelope).encode())
    with pytest.raises(DamagedError, match="changed by someone") as caught:
        open_repository(storage, PASSPHRASE)
    assert caught.value.hint


Change = Callable[[dict[str, Any]], Any]


def put(**fields: Any) -> Change:
    return lambda slot: slot.update(fields)


def kdf(**fields: Any) -> Change:
    return lambda slot: slot["kdf"].update(fields)


SLOTS: Mapping[str, Change] = {
    "4 TiB of memory": kdf(memory_kib=1 << 32),
    "3 GiB of memory": kdf(memory_kib=3 * 1024 * 1024),
    "no memory": kdf(memory_kib=0),
    "endless iterations": kdf(iterations=1 << 31),
    "many iterations": kdf(iterations=17),
    "no iterations": kdf(iterations=0),
    "many lanes": kdf(lanes=1 << 24),
    "negative lanes": kdf(lanes=-1),
    "a huge number": put(number=1 << 40),
    "a negative number": put(number=-1),
    "a short salt": kdf(salt="00"),
    "no salt": kdf(salt=""),
    "an endless salt": kdf(salt="00" * 100_000),
    "a salt that is no hex": kdf(salt="xy" * 16),
    "a commitment beyond ASCII": put(commitment="é" * 64),
    "a short commitment": put(commitment=""),
    "nothing sealed": put(sealed=""),
    "sealed garbage": put(sealed="00" * 500),
    "sealed text": put(sealed="text"),
    "an unknown field": put(invented=1),
    "words for numbers": put(generation="one"),
    "a list for the parameters": put(kdf=[1, 2, 3]),
    "no parameters": lambda slot: slot.pop("kdf"),
}


@pytest.mark.parametrize("change", SLOTS.values(), ids=SLOTS.keys())
def test_a_hostile_slot_is_an_error_at_once(
    repository: Repository, storage: MemoryStorage, change: Change, capfd: pytest.CaptureFixture[str]
) -> None:
    slot = json.loads(untwin(SLOT, storage.objects["keys/1"], "keys/1").payload)
    change(slot)
    storage.objects |= dict.fromkeys(SLOT_NAMES, twin(SLOT, json.dumps(slot).encode()))
    began = time.monotonic()
    with pytest.raises(HoldfastError) as caught:
        open_repository(storage, PASSPHRASE)
    assert isinstance(caught.value, DamagedError | DeniedError)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("payload", [b"", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"1" * 100_000])
def test_slots_and_configurations_of_garbage_are_damaged(
    repository: Repository, storage: MemoryStorage, payload: bytes
) -> None:
    genuine = storage.objects["keys/1"]
    storage.objects |= dict.fromkeys(SLOT_NAMES, twin(SLOT, payload))
    with pytest.raises(DamagedError, match="keys/1"):
        open_repository(storage, PASSPHRASE)
    storage.objects |= dict.fromkeys(SLOT_NAMES, genuine)
    for name in configuration.NAMES:
        storage.objects[name] = frame(CONFIG, payload)
    with pytest.raises(DamagedError, match="config"):
        open_repository(storage, PASSPHRASE)


@pytest.mark.parametrize("identity", ["", "00", "zz" * 16, "00" * 17, "é" * 32])
def test_a_forged_identity_is_damage(repository: Repository, storage: MemoryStorage, identity: str) -> None:
    reconfigure(storage, repository, id=identity)
    with pytest.raises(DamagedError, match="config"):
        open_repository(storage, PASSPHRASE)


def test_of_several_slots_one_that_opens_is_enough(repository: Repository, storage: MemoryStorage) -> None:
    storage.objects["keys/0"] = b"garbage"
    storage.objects["keys/2"] = twin(SLOT, b"{}")
    assert open_repository(storage, PASSPHRASE).id == repository.id


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from holdfast.core.errors import HoldfastError
from holdfast.repository import LocalDirectory, open_repository
resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
try:
    open_repository(LocalDirectory.open(Path(sys.argv[1])), b"correct horse")
except HoldfastError as error:
    print(type(error).__name__, bool(error.hint), error.message)
"""


def test_a_passphrase_that_needs_more_memory_than_there_is_is_told_as_that(tmp_path: Path) -> None:
    new_repository(LocalDirectory.create(tmp_path / "repository"))
    slot_file = tmp_path / "repository/keys/1"
    slot = json.loads(untwin(SLOT, slot_file.read_bytes(), "keys/1").payload)
    slot["kdf"]["memory_kib"] = 2 * 1024 * 1024
    for name in SLOT_NAMES:
        (tmp_path / "repository" / name).write_bytes(twin(SLOT, json.dumps(slot).encode()))
    told = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, tmp_path / "repository"], check=True, stdout=subprocess.PIPE, text=True
    )
    assert told.stdout.startswith("FailedError True ")
    assert "memory" in told.stdout


# --- storage that cannot be read --------------------------------------------------------------------------------------


def io_error(name: str) -> StorageError:
    return StorageError(f"{name}: Input/output error")


def test_what_cannot_be_read_is_served_by_its_second_copy(storage: MemoryStorage) -> None:
    made = new_repository(storage)
    point = back_up_disks(made, [whole(b"content" * 9000)]).point
    for unreadable in ("config", "config.2", "keys/1", "keys/1.2", "index/"):
        faulty = FaultyStorage(storage)
        faulty.unreadable[unreadable] = io_error(unreadable)
        opened = open_repository(faulty, PASSPHRASE)
        assert restored(opened, point) == b"content" * 9000
        report = opened.check(Silence())
        assert {damage.object.partition("/")[0] for damage in report.damage} == {unreadable.partition("/")[0]}


@pytest.mark.parametrize("unreadable", ["keys/", "log/"])
def test_what_has_no_second_copy_and_cannot_be_read_is_named(storage: MemoryStorage, unreadable: str) -> None:
    back_up_disks(new_repository(storage), [whole(b"content")])
    faulty = FaultyStorage(storage)
    faulty.unreadable[unreadable] = io_error(unreadable + "x")
    with pytest.raises(StorageError, match=unreadable):
        open_repository(faulty, PASSPHRASE)


def test_a_pack_that_cannot_be_read_is_named_with_the_reason(storage: MemoryStorage) -> None:
    point = back_up_disks(new_repository(storage), [whole(b"content" * 9000)]).point
    faulty = FaultyStorage(storage)
    faulty.unreadable["packs/"] = io_error("packs/…")
    opened = open_repository(faulty, PASSPHRASE)
    with pytest.raises(DamagedError, match="Input/output error"):
        restored(opened, point)
    damage = opened.check(Silence()).damage
    assert {(each.machine, each.point, each.disk) for each in damage if each.point} == {("web", point.id, "vda")}


def test_a_configuration_keeps_what_it_was_made_with(repository: Repository, storage: MemoryStorage) -> None:
    blobs = {storage.objects[name] for name in configuration.NAMES}
    assert len(blobs) == 1
    assert isinstance(open_repository(storage, PASSPHRASE).config, Config)
    assert open_repository(storage, PASSPHRASE).config == repository.config
