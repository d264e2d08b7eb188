"""Keys: what a passphrase opens, and every key derived from it.

    passphrase --Argon2id--> wrapping key --AES-256-GCM--> Secrets {content secret, epoch keys, signing key}
    content secret --HKDF--> id keys (data, nodes), cut key, configuration MAC key     (never rotate)
    epoch key + salt of the object --HKDF--> the key that seals this pack, table, index object or entry

Argon2id: RFC 9106. HKDF-SHA-256: RFC 5869. AES-GCM: NIST SP 800-38D; no key ever meets a nonce twice, because every
sealed object has 32 fresh random bytes of salt and counts its nonces from zero.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final

import msgspec
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.core.errors import DamagedError, DeniedError, FailedError, UsageError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
_WRAP_NONCE: Final = bytes(12)  # the wrapping key is fresh for each slot, by its salt


@dataclass(frozen=True, slots=True, kw_only=True)
class KdfCost:
    """What trying one passphrase costs."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4


class _Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2id parameters as stored. Bounded, since a slot is read before anything is authenticated."""

    memory_kib: Annotated[int, msgspec.Meta(ge=8, le=2 * 1024 * 1024)]  # RFC 9106 recommends no more than this
    iterations: Annotated[int, msgspec.Meta(ge=1, le=16)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]
    salt: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class _Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key slot as stored. `commitment` binds the slot to one wrapping key, which AES-GCM alone does not."""

    generation: int
    number: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    kdf: _Kdf
    commitment: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    sealed: str
    sealed_signing: str


class _Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sealed part of a slot."""

    generation: int
    slots: list[int]
    content: str
    epochs: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The open keys of one repository."""

    repository_id: bytes
    content_secret: bytes
    epoch_keys: dict[int, bytes]
    signing_seed: bytes | None = None

    @property
    def epoch(self) -> int:
        """The epoch that new objects are sealed in."""
        return max(self.epoch_keys)

    @cached_property
    def data_id_key(self) -> bytes:
        """Names segments of disks."""
        return self._content_key(b"data id")

    @cached_property
    def node_id_key(self) -> bytes:
        """Names tree nodes; apart from data, so that no guest can write a block that is taken for a node."""
        return self._content_key(b"node id")

    @cached_property
    def cut_key(self) -> bytes:
        """Decides where segments end."""
        return self._content_key(b"cut")

    def config_mac(self, body: bytes) -> str:
        """Authenticates the configuration, in hex."""
        return hmac.new(self._content_key(b"config mac"), body, hashlib.sha256).hexdigest()

    def sealer(self, purpose: bytes, epoch: int, salt: bytes) -> AESGCM:
        """The cipher of one object. Raises DamagedError if the repository has no such epoch."""
        if epoch not in self.epoch_keys:
            raise DamagedError(f"sealed in epoch {epoch}, to which this passphrase has no key", code="unknown-epoch")
        info = b"holdfast 1 seal " + purpose + b" " + self.repository_id
        return AESGCM(_hkdf(self.epoch_keys[epoch], info, salt))

    def _content_key(self, purpose: bytes) -> bytes:
        return _hkdf(self.content_secret, b"holdfast 1 content " + purpose)


def new_keys(repository_id: bytes) -> tuple[Keys, str]:
    """Fresh secrets for a new repository, and the public half (hex) of the key that signs what may delete."""
    signing = Ed25519PrivateKey.generate()
    keys = Keys(
        repository_id=repository_id,
        content_secret=secrets.token_bytes(KEY_BYTES),
        epoch_keys={1: secrets.token_bytes(KEY_BYTES)},
        signing_seed=signing.private_bytes_raw(),
    )
    return keys, signing.public_key().public_bytes_raw().hex()


def wrap(keys: Keys, passphrase: bytes, cost: KdfCost, *, number: int = 1) -> bytes:
    """A key slot's payload. The signing key is sealed apart, so that a mover's slot can leave it out.

    Raises UsageError on an empty passphrase.
    """
    if not passphrase:
        raise UsageError("the passphrase is empty", hint="choose a passphrase; it is all that protects the repository")
    kdf = _Kdf(cost.memory_kib, cost.iterations, cost.lanes, os.urandom(16).hex())
    root = _stretch(passphrase, kdf)
    opened = _Opened(1, [number], keys.content_secret.hex(), {str(e): k.hex() for e, k in keys.epoch_keys.items()})
    context = _slot_context(keys.repository_id, number)
    seed = keys.signing_seed
    slot = _Slot(
        generation=1,
        number=number,
        kdf=kdf,
        commitment=_hkdf(root, b"holdfast 1 slot commitment").hex(),
        sealed=_wrapper(root, b"keys").encrypt(_WRAP_NONCE, msgspec.json.encode(opened), context).hex(),
        sealed_signing=_wrapper(root, b"signing").encrypt(_WRAP_NONCE, seed, context).hex() if seed else "",
    )
    return msgspec.json.encode(slot)


def unwrap(payload: bytes, passphrase: bytes, repository_id: bytes, name: str) -> Keys | None:
    """The keys in a slot, or None if this passphrase is not the slot's.

    Raises DamagedError if the slot is no slot, FailedError if there is not enough memory to try.
    """
    try:
        slot = msgspec.json.decode(payload, type=_Slot)
        root = _stretch(passphrase, slot.kdf)
        if not hmac.compare_digest(_hkdf(root, b"holdfast 1 slot commitment").hex(), slot.commitment):
            return None
        context = _slot_context(repository_id, slot.number)
        plain = _wrapper(root, b"keys").decrypt(_WRAP_NONCE, bytes.fromhex(slot.sealed), context)
        opened = msgspec.json.decode(plain, type=_Opened)
        seed = _open_seed(root, slot, context)
    except (msgspec.MsgspecError, RecursionError, InvalidTag, ValueError) as error:
        message = f"{name} is not a key slot of this repository"
        raise DamagedError(message, hint="bring the object back from a copy", code="object-damaged") from error
    except (HashingError, MemoryError) as error:
        message = f"there is not enough memory to try a passphrase on {name}: {error}"
        raise FailedError(message, hint="free memory, or use a computer that has more", code="memory") from error
    return Keys(
        repository_id=repository_id,
        content_secret=bytes.fromhex(opened.content),
        epoch_keys={int(epoch): bytes.fromhex(key) for epoch, key in opened.epochs.items()},
        signing_seed=seed,
    )


def _open_seed(root: bytes, slot: _Slot, context: bytes) -> bytes | None:
    """The private half of the signing key; a slot for those who may not delete has none."""
    if not slot.sealed_signing:
        return None
    return _wrapper(root, b"signing").decrypt(_WRAP_NONCE, bytes.fromhex(slot.sealed_signing), context)


def wrong_passphrase(url: str) -> DeniedError:
    """The error when no slot opens."""
    return DeniedError(
        f"the passphrase does not open {url}",
        hint="check HOLDFAST_PASSPHRASE, --passphrase-file or --passphrase-command; of a copy's target, "
        "HOLDFAST_TARGET_PASSPHRASE",
        code="wrong-passphrase",
    )


def _stretch(passphrase: bytes, kdf: _Kdf) -> bytes:
    """The wrapping root. By the reference code, which fills its lanes side by side; OpenSSL fills one after another."""
    return hash_secret_raw(
        passphrase,
        bytes.fromhex(kdf.salt),
        kdf.iterations,
        max(kdf.memory_kib, 8 * kdf.lanes),
        kdf.lanes,
        KEY_BYTES,
        Type.ID,
    )


def _wrapper(root: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(_hkdf(root, b"holdfast 1 slot " + purpose))


def _slot_context(repository_id: bytes, number: int) -> bytes:
    return b"holdfast 1 slot " + repository_id + number.to_bytes(4, "little")


def _hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
