"""Finding the configuration again when both of its copies are lost.

The headers of packs and index objects name the repository; with that its key slots open; and the first entry of the log
repeats the configuration. Repositories of older programs have no such entry: nothing else says how their disks are cut.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from holdfast.core.errors import DamagedError, HoldfastError, NotFoundError
from holdfast.repository import config as configuration
from holdfast.repository.decisions import Create
from holdfast.repository.framing import ENTRY, untwin
from holdfast.repository.keyring import opened_slots
from holdfast.repository.keys import Keys
from holdfast.repository.log_entry import decode_creation, entry_name
from holdfast.repository.storage.port import ObjectMissingError, Storage

_HEAD: Final = struct.Struct("<8s16s")
_MAGICS: Final = (b"HFPACK\x00\x01", b"HFINDX\x00\x01")
_LOOKED_AT: Final = 16
"""Headers read: a foreign object among them must not decide alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationPlan:
    """The genuine configuration as it is stored, and which of its names do not hold it."""

    blob: bytes
    names: Sequence[str]

    def carry_out(self, storage: Storage) -> None:
        """Put it under those names, in the place of what else stands there."""
        for name in reversed(self.names):
            storage.delete(name)
            storage.put(name, [self.blob])


def plan_configuration(storage: Storage, secret: bytes) -> ConfigurationPlan:
    """Find the configuration. Raises DeniedError (wrong passphrase), NotFoundError, DamagedError if it is lost."""
    there = {name: blob for name in configuration.NAMES if (blob := _stored(storage, name)) is not None}
    genuine = next((blob for blob in there.values() if _is_genuine(storage, secret, blob)), None)
    blob = genuine if genuine is not None else _from_log(storage, secret)
    return ConfigurationPlan(blob=blob, names=[name for name in configuration.NAMES if there.get(name) != blob])


def _stored(storage: Storage, name: str) -> bytes | None:
    try:
        return storage.get(name)
    except ObjectMissingError:
        return None
    except HoldfastError:
        return b""


def _is_genuine(storage: Storage, secret: bytes, blob: bytes) -> bool:
    """Whether this is a configuration that somebody with the keys wrote."""
    try:
        stored = configuration.decode(blob, "config")
        return any(map(stored.is_by, opened_slots(storage, secret, bytes.fromhex(stored.config.id))))
    except DamagedError:
        return False


def _first_entry(storage: Storage, keys: Keys) -> Create:
    """What the log says of its repository. Raises DamagedError, also if the entry is missing."""
    name = entry_name(1)
    try:
        blob = storage.get(name)
    except ObjectMissingError as error:
        raise DamagedError(f"{name} is missing", hint="bring it back from a copy", code="log-hole") from error
    return decode_creation(keys, untwin(ENTRY, blob, name).payload, name)


def _from_log(storage: Storage, secret: bytes) -> bytes:
    """The configuration that the first entry of the log repeats."""
    damage: DamagedError | None = None
    for identity in _identities(storage):
        try:
            for keys in opened_slots(storage, secret, identity):
                if body := _first_entry(storage, keys).config:
                    return configuration.seal(body.encode(), keys)
        except DamagedError as error:
            damage = error
    raise damage or DamagedError(
        f"both copies of the configuration of {storage.url} are lost, and its log does not repeat it",
        hint="bring `config` back from a copy of the repository",
        code="config-lost",
    )


def _identities(storage: Storage) -> list[bytes]:
    """Ids that packs and index objects say they belong to, the most common first. Raises NotFoundError if none does."""
    found = Counter(_owners(storage))
    if not found:
        message = f"there is no repository at {storage.url}, or nothing in it says which one it is"
        raise NotFoundError(message, hint="check the path", code="no-repository")
    return [identity for identity, _ in found.most_common()]


def _owners(storage: Storage) -> Iterator[bytes]:
    for prefix in ("index/", "packs/"):
        for number, stored in enumerate(storage.list(prefix)):
            if number == _LOOKED_AT:
                break
            head = bytearray(_HEAD.size)
            with suppress(HoldfastError):
                storage.read_into(stored.name, 0, memoryview(head))
            magic, owner = _HEAD.unpack(head)
            if magic in _MAGICS:
                yield owner
