"""Keys: what an open slot gives, and every key derived from it.

    content secret --HKDF--> id keys (data, nodes), cut key, configuration MAC key     (never rotate)
    epoch key + salt of the object --HKDF--> the key that seals this pack, table, index object or entry
    signing seed of the epoch --Ed25519--> signatures under entries that may delete, or change who has keys

HKDF-SHA-256: RFC 5869. AES-GCM: NIST SP 800-38D; no key ever meets a nonce twice, because every sealed object has 32
fresh random bytes of salt and counts its nonces from zero. Ed25519: RFC 8032. No `repr` shows a secret.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.core.errors import DamagedError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32


SlotKind = Literal["passphrase", "key-file", "recovery"]


class EpochSecrets(NamedTuple):
    """What belongs to one epoch. The signing seed is None for a holder who may not sign."""

    number: int
    key: bytes
    signing_seed: bytes | None

    def __repr__(self) -> str:
        return f"EpochSecrets({self.number})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Which slot the keys came from, the set of slots that has it first, and the key by which it gets later epochs."""

    number: int
    generation: int
    kind: SlotKind
    private_key: X25519PrivateKey

    @property
    def public_key(self) -> str:
        """In hex."""
        return self.private_key.public_key().public_bytes_raw().hex()


class Keys:
    """The open keys of one repository. Safe to use from many threads: a new epoch appears in one step."""

    def __init__(
        self,
        repository_id: bytes,
        content_secret: bytes,
        epoch_keys: Mapping[int, bytes],
        signing_seed: bytes | None,
        holder: Holder | None = None,
    ) -> None:
        self.repository_id = repository_id
        self._content_secret = content_secret
        self._epoch_keys = dict(epoch_keys)
        self._signing_seed = signing_seed
        self.holder = holder

    def __repr__(self) -> str:
        return f"Keys({self.repository_id.hex()}, epochs {sorted(self._epoch_keys)})"

    @property
    def epoch(self) -> int:
        """The epoch that new objects are sealed in."""
        return max(self._epoch_keys)

    @property
    def content_secret(self) -> bytes:
        """For slots, and for repositories that are to name equal blocks alike."""
        return self._content_secret

    @property
    def epoch_keys(self) -> Mapping[int, bytes]:
        """For slots."""
        return self._epoch_keys

    @property
    def signing_seed(self) -> bytes | None:
        """For slots; None if these keys may not sign."""
        return self._signing_seed

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
        if epoch not in self._epoch_keys:
            raise DamagedError(f"sealed in epoch {epoch}, to which this key does not reach", code="unknown-epoch")
        info = b"holdfast 1 seal " + purpose + b" " + self.repository_id
        return AESGCM(hkdf(self._epoch_keys[epoch], info, salt))

    def host_sealer(self, purpose: bytes, salt: bytes) -> AESGCM:
        """The cipher of what a host keeps for itself, for whoever opens with the same slot and for nobody else."""
        assert self.holder
        info = b"holdfast 1 host " + purpose + b" " + self.repository_id
        return AESGCM(hkdf(self.holder.private_key.private_bytes_raw(), info, salt))

    def enter(self, epoch: EpochSecrets) -> None:
        """Seal and sign with these secrets from now on; what was sealed before stays readable."""
        self._epoch_keys = {**self._epoch_keys, epoch.number: epoch.key}
        self._signing_seed = epoch.signing_seed

    def _content_key(self, purpose: bytes) -> bytes:
        return hkdf(self._content_secret, b"holdfast 1 content " + purpose)


def new_keys(repository_id: bytes, like: Keys | None = None) -> Keys:
    """Fresh secrets for a new repository; it names blocks as another does, if one is given."""
    content_secret = like.content_secret if like else secrets.token_bytes(KEY_BYTES)
    first = new_epoch(1)
    return Keys(repository_id, content_secret, {first.number: first.key}, first.signing_seed)


def new_epoch(number: int) -> EpochSecrets:
    """Fresh secrets of an epoch."""
    return EpochSecrets(number, secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES))


def hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes of HKDF-SHA-256."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
