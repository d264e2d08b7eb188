"""Which key slots are in force, in which epoch: the part of the log's fold that `epoch` entries change. Pure.

    change of a slot    the set changes, the epoch stays: what the old slot gave is as good as before
    new epoch           new secrets to seal and sign with, handed to the X25519 key of each slot that stays in force

The set that a repository is made with is slot 1 alone, and no entry says so. What is handed over is sealed by HPKE
(RFC 9180) inside an entry that is sealed in the epoch before: it takes a slot of the set before and one of the set
after. A slot that was taken out of the set gets nothing, whoever puts its object back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from holdfast.core.errors import DamagedError, DeniedError, RefusedError
from holdfast.repository.decisions import Epoch, SlotRecord
from holdfast.repository.keys import EpochSecrets, Holder, Keys
from holdfast.repository.signing import Signer

MAXIMUM_SLOTS: Final = 64
"""In force at one time."""

FIRST_SLOT: Final = 1

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class KeyRemovedError(DeniedError):
    """The slot that opened is not, or no longer, one of the repository's."""


class _Handed(msgspec.Struct, frozen=True):
    """What is handed to a slot; no signing seed for a holder who may not sign."""

    key: str
    signing: str = ""

    def __repr__(self) -> str:
        return "_Handed()"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The slots in force. `slots` is empty as long as the set is the first one; `retired` numbers were in force once.

    `handed` holds the present epoch's secrets, sealed for each slot by its number.
    """

    signing_key: str = ""
    generation: int = 1
    epoch: int = 1
    slots: tuple[SlotRecord, ...] = ()
    retired: frozenset[int] = frozenset()
    handed: Mapping[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> frozenset[int]:
        """The slots in force."""
        return frozenset(each.number for each in self.slots) or frozenset({FIRST_SLOT})

    def has(self, holder: Holder) -> bool:
        """Whether a slot is in force."""
        if not self.slots:
            return holder.number == FIRST_SLOT
        return any((each.number, each.public_key) == (holder.number, holder.public_key) for each in self.slots)

    def records(self, keys: Keys, created_at: datetime) -> list[SlotRecord]:
        """What is known of each slot; of the first slot of a repository, what its holder knows."""
        return list(self.slots) or [record_of(keys, "", created_at)]

    def why_void(self, body: Epoch) -> str:
        """Why a change of the set is none; empty if it is one."""
        numbers = {each.number for each in body.slots}
        if body.generation != self.generation + 1 or body.epoch - self.epoch not in {0, 1}:
            return f"does not follow generation {self.generation} and epoch {self.epoch} of the keys"
        if not len(numbers) == len(body.slots) <= MAXIMUM_SLOTS or not any(each.may_sign for each in body.slots):
            return "is no set of key slots"
        begins = body.epoch > self.epoch
        if begins != (body.signing_key != self.signing_key) or {str(each) for each in numbers if begins} != {
            *body.handed
        }:
            return "does not hand its epoch to every slot"
        return ""

    def after(self, body: Epoch) -> "KeySet":
        """The set that a change makes."""
        return KeySet(
            signing_key=body.signing_key,
            generation=body.generation,
            epoch=body.epoch,
            slots=tuple(body.slots),
            retired=(self.retired | self.numbers) - {each.number for each in body.slots},
            handed=body.handed if body.epoch > self.epoch else self.handed,
        )


def record_of(keys: Keys, label: str, created_at: datetime) -> SlotRecord:
    """What the set says of the slot that keys came from."""
    holder = keys.holder
    assert holder
    return SlotRecord(
        number=holder.number,
        kind=holder.kind,
        label=label,
        created_at=created_at,
        public_key=holder.public_key,
        may_sign=keys.signing_seed is not None,
    )


def same_epoch(keyset: KeySet, slots: Sequence[SlotRecord]) -> Epoch:
    """The change that puts these slots in force and leaves what is sealed and signed with as it is."""
    if len(slots) > MAXIMUM_SLOTS:
        raise RefusedError(f"the repository has {MAXIMUM_SLOTS} keys already", hint="remove one", code="too-many-keys")
    return Epoch(
        generation=keyset.generation + 1,
        epoch=keyset.epoch,
        slots=list(slots),
        signing_key=keyset.signing_key,
        handed={},
    )


def next_epoch(keyset: KeySet, slots: Sequence[SlotRecord], secrets: EpochSecrets, repository_id: bytes) -> Epoch:
    """The change that puts these slots in force and hands fresh secrets to them alone."""
    assert secrets.signing_seed
    return Epoch(
        generation=keyset.generation + 1,
        epoch=secrets.number,
        slots=list(slots),
        signing_key=Signer.of(secrets.signing_seed).public_key,
        handed={str(each.number): _hand_over(secrets, each, repository_id) for each in slots},
    )


def enter_epoch(keys: Keys, keyset: KeySet) -> None:
    """Take over the present epoch's secrets, if these keys lack them.

    Raises KeyRemovedError if nothing was handed to the slot the keys came from.
    """
    if keyset.epoch in keys.epoch_keys or keys.holder is None:
        return
    if not keyset.has(keys.holder):
        raise key_removed(keys.holder)
    try:
        sealed = bytes.fromhex(keyset.handed[str(keys.holder.number)])
        info = _info(keys.repository_id, keyset.epoch, keys.holder.number)
        handed = msgspec.json.decode(_SUITE.decrypt(sealed, keys.holder.private_key, info), type=_Handed)
        seed = bytes.fromhex(handed.signing) if handed.signing else None
        keys.enter(EpochSecrets(keyset.epoch, bytes.fromhex(handed.key), seed))
    except (InvalidTag, ValueError, msgspec.MsgspecError) as error:
        message = f"what was handed to key {keys.holder.number} for epoch {keyset.epoch} does not open with it"
        raise DamagedError(message, hint="open the repository with another key", code="epoch-not-handed") from error


def key_removed(holder: Holder) -> KeyRemovedError:
    """The error for a slot that opens and is not in force."""
    return KeyRemovedError(
        f"key {holder.number} is not one of the repository's: it was removed, or adding it was never finished",
        hint="use another key; if none was ever removed, the log was rolled back: bring it back from a copy",
        code="key-removed",
    )


def _hand_over(secrets: EpochSecrets, slot: SlotRecord, repository_id: bytes) -> str:
    seed = secrets.signing_seed.hex() if secrets.signing_seed and slot.may_sign else ""
    plain = msgspec.json.encode(_Handed(secrets.key.hex(), seed))
    receiver = X25519PublicKey.from_public_bytes(bytes.fromhex(slot.public_key))
    return _SUITE.encrypt(plain, receiver, _info(repository_id, secrets.number, slot.number)).hex()


def _info(repository_id: bytes, epoch: int, slot: int) -> bytes:
    return b"holdfast 1 epoch " + repository_id + epoch.to_bytes(4, "little") + slot.to_bytes(4, "little")
