"""Signatures on decisions that may lead to bytes being deleted: Ed25519 (RFC 8032).

The first public key stands in the configuration, that of a later epoch in the entry that begins it; the private seed
is with those who may delete. What a credential without the seed forges is void for everybody.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfast.core.errors import DeniedError

SIGNATURE_BYTES = 64


class Signer:
    """Verifies with the repository's public key (hex); signs if there is a seed."""

    def __init__(self, public_key: str, seed: bytes | None) -> None:
        self.follow(public_key, seed)

    @classmethod
    def of(cls, seed: bytes) -> "Signer":
        """The signer that a seed makes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex(), seed)

    def follow(self, public_key: str, seed: bytes | None) -> None:
        """Use these from now on: a new epoch has begun."""
        self.public_key = public_key
        self._public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        self._private = Ed25519PrivateKey.from_private_bytes(seed) if seed else None

    @property
    def may_sign(self) -> bool:
        """Whether the key slot that was opened holds the seed."""
        return self._private is not None

    def require(self) -> None:
        """Raise DeniedError if nothing can be signed with the key slot that was opened."""
        if not self.may_sign:
            raise DeniedError(
                "deleting, and giving up what protects from it, needs the signing key, which this key slot lacks",
                hint="open the repository with the passphrase of a slot that may delete",
                code="no-signing-key",
            )

    def sign(self, message: bytes) -> bytes:
        """64 bytes. Raises DeniedError."""
        self.require()
        assert self._private
        return self._private.sign(message)

    def is_genuine(self, signature: bytes, message: bytes) -> bool:
        """Whether the holder of the repository's seed has signed this message."""
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True
