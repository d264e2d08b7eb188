"""Key slots: each opens with one secret, and gives all keys of the repository.

    secret --Argon2id--> root --HKDF--> commitment, the keys of what is sealed here, and the slot's X25519 key
    sealed          content secret and the keys of all epochs up to when the slot was made
    sealed_signing  the signing seed of that time; empty in the slot of somebody who may not delete

A secret is a passphrase, the content of a key file or the words of a recovery key: bytes. Later epochs are handed to
the slot's X25519 key, so that nobody needs its secret for that (`keyset.py`). Argon2id: RFC 9106. X25519: RFC 7748.
"""

import hmac
import os
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.core.errors import DamagedError, FailedError, UsageError
from holdfast.repository.keys import KEY_BYTES, Holder, Keys, SlotKind, hkdf

_WRAP_NONCE: Final = bytes(12)  # the wrapping key is fresh for each slot, by its salt


@dataclass(frozen=True, slots=True, kw_only=True)
class KdfCost:
    """What trying one secret costs."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4


RANDOM_SECRET: Final = KdfCost(memory_kib=64, iterations=1, lanes=1)
"""For secrets of 256 random bits: nobody tries those, whatever a try costs."""


class _Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2id parameters as stored. Bounded, since a slot is read before anything is authenticated."""

    memory_kib: Annotated[int, msgspec.Meta(ge=8, le=2 * 1024 * 1024)]  # RFC 9106 recommends no more than this
    iterations: Annotated[int, msgspec.Meta(ge=1, le=16)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]
    salt: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key slot as stored. `commitment` binds the slot to one root, which AES-GCM alone does not."""

    generation: int
    number: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    kdf: _Kdf
    commitment: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    sealed: str
    sealed_signing: str

    @property
    def effort(self) -> int:
        """How long trying a secret takes, relative to others."""
        return self.kdf.memory_kib * self.kdf.iterations


class _Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sealed part of a slot."""

    generation: int
    slots: list[int]
    content: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    epochs: dict[str, str]
    kind: SlotKind = "passphrase"

    def __repr__(self) -> str:
        return f"_Opened(generation={self.generation})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSlot:
    """A slot to be made. `generation` is the set of slots that is to have it first, `slots` the numbers in it."""

    number: int
    generation: int
    slots: list[int]
    kind: SlotKind
    may_sign: bool = True


def seal_slot(keys: Keys, secret: bytes, cost: KdfCost, new: NewSlot) -> bytes:
    """A slot's payload. Raises UsageError on an empty secret."""
    if not secret:
        raise UsageError("the passphrase is empty", hint="choose a passphrase; it is all that protects the repository")
    kdf = _Kdf(cost.memory_kib, cost.iterations, cost.lanes, os.urandom(16).hex())
    root = _stretch(secret, kdf)
    epochs = {str(epoch): key.hex() for epoch, key in keys.epoch_keys.items()}
    opened = _Opened(new.generation, new.slots, keys.content_secret.hex(), epochs, new.kind)
    context = _slot_context(keys.repository_id, new.number)
    seed = keys.signing_seed if new.may_sign else None
    slot = Slot(
        generation=new.generation,
        number=new.number,
        kdf=kdf,
        commitment=hkdf(root, b"holdfast 1 slot commitment").hex(),
        sealed=_wrapper(root, b"keys").encrypt(_WRAP_NONCE, msgspec.json.encode(opened), context).hex(),
        sealed_signing=_wrapper(root, b"signing").encrypt(_WRAP_NONCE, seed, context).hex() if seed else "",
    )
    return msgspec.json.encode(slot)


def decode_slot(payload: bytes, name: str) -> Slot:
    """A slot whose parameters are within bounds. Raises DamagedError."""
    try:
        return msgspec.json.decode(payload, type=Slot)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise not_a_slot(name) from error


def open_slot(slot: Slot, secret: bytes, repository_id: bytes, name: str) -> Keys | None:
    """The keys in a slot, or None if this secret is not the slot's.

    Raises DamagedError if the slot is of another repository or place, FailedError if there is not enough memory.
    """
    root = _root(slot, secret, name)
    if not hmac.compare_digest(hkdf(root, b"holdfast 1 slot commitment").hex(), slot.commitment):
        return None
    context = _slot_context(repository_id, slot.number)
    try:
        opened = msgspec.json.decode(_unseal(root, b"keys", slot.sealed, context), type=_Opened)
        seed = _unseal(root, b"signing", slot.sealed_signing, context) if slot.sealed_signing else None
        return _keys(repository_id, slot.number, root, opened, seed)
    except (msgspec.MsgspecError, RecursionError, InvalidTag, ValueError) as error:
        raise not_a_slot(name) from error


def _keys(repository_id: bytes, number: int, root: bytes, opened: _Opened, seed: bytes | None) -> Keys:
    """What a slot gives. Raises ValueError if a key has not the length of one."""
    epochs = {int(epoch): bytes.fromhex(key) for epoch, key in opened.epochs.items()}
    if {len(key) for key in (*epochs.values(), seed or bytes(KEY_BYTES))} != {KEY_BYTES} or not epochs:
        raise ValueError("a key of another length")
    private_key = X25519PrivateKey.from_private_bytes(hkdf(root, b"holdfast 1 slot x25519"))
    holder = Holder(number=number, generation=opened.generation, kind=opened.kind, private_key=private_key)
    return Keys(repository_id, bytes.fromhex(opened.content), epochs, seed, holder)


def _root(slot: Slot, secret: bytes, name: str) -> bytes:
    try:
        return _stretch(secret, slot.kdf)
    except (HashingError, MemoryError) as error:
        message = f"there is not enough memory to try a passphrase on {name}: {error}"
        raise FailedError(message, hint="free memory, or use a computer that has more", code="memory") from error


def _stretch(secret: bytes, kdf: _Kdf) -> bytes:
    """The wrapping root. By the reference code, which fills its lanes side by side; OpenSSL fills one after another."""
    return hash_secret_raw(
        secret,
        bytes.fromhex(kdf.salt),
        kdf.iterations,
        max(kdf.memory_kib, 8 * kdf.lanes),
        kdf.lanes,
        KEY_BYTES,
        Type.ID,
    )


def _wrapper(root: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(hkdf(root, b"holdfast 1 slot " + purpose))


def _unseal(root: bytes, purpose: bytes, sealed: str, context: bytes) -> bytes:
    return _wrapper(root, purpose).decrypt(_WRAP_NONCE, bytes.fromhex(sealed), context)


def _slot_context(repository_id: bytes, number: int) -> bytes:
    return b"holdfast 1 slot " + repository_id + number.to_bytes(4, "little")


def not_a_slot(name: str) -> DamagedError:
    """The error for an object that should be one."""
    message = f"{name} is not a key slot of this repository"
    return DamagedError(message, hint="bring the object back from a copy", code="object-damaged")
