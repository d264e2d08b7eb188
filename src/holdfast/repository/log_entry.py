"""One entry of the log of decisions, as an object. `log/<12 digits>` is a twin frame of these parts.

    header   one line of JSON: kind, number, previous (hex BLAKE3-256 of the payload before), base, epoch, salt
    sealed   AES-256-GCM of [signature and] body under a key of this entry alone, the header line as associated data

An entry of a kind that this program does not know was written by a newer one: it stops, because what it cannot read
might be the decision that forbids what it is about to do.
"""

import os
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag

from holdfast.core.errors import DamagedError
from holdfast.repository import framing
from holdfast.repository.config import newer_format
from holdfast.repository.decisions import KINDS, UNKNOWN_TIME, Create, Entry, Forged, decode_body, encode_body
from holdfast.repository.framing import ENTRY
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.packs import nonce
from holdfast.repository.signing import SIGNATURE_BYTES, Signer

LOG_PREFIX: Final = "log/"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clear part of an entry."""

    kind: str
    number: int
    previous: str
    base: int
    epoch: int
    salt: str


class Unsealed(NamedTuple):
    """An entry that was sealed with the repository's keys; whether it is genuine, its signature says."""

    header: Header
    line: bytes
    """The header as it stands in the object."""
    plain: bytes

    def decode(self, keys: Keys, signer: Signer) -> Entry:
        """The entry; of a signed kind without a genuine signature only that it was forged. Raises RefusedError."""
        if not KINDS[self.header.kind].signed:
            return _decoded(self.header, self.plain)
        signature, plain = self.plain[:SIGNATURE_BYTES], self.plain[SIGNATURE_BYTES:]
        if signer.is_genuine(signature, _signed_text(keys, self.line, plain)):
            return _decoded(self.header, plain)
        return Entry(number=self.header.number, at=UNKNOWN_TIME, by="", body=Forged(claimed=self.header.kind))

    def decode_judged(self) -> Entry:
        """The entry of a signed kind whose signature was judged before. Raises RefusedError."""
        return _decoded(self.header, self.plain[SIGNATURE_BYTES:])


class _Kind(msgspec.Struct, frozen=True):
    """What even the newest entry says of itself."""

    kind: str


def entry_name(number: int) -> str:
    """Where entry `number` stands in the storage."""
    return f"{LOG_PREFIX}{number:012}"


def seal_entry(keys: Keys, signer: Signer, entry: Entry, *, previous: str, epoch: int, base: int) -> bytes:
    """The object of an entry that follows the one of hash `previous`. Raises DeniedError without a key it needs."""
    body, salt = entry.body, os.urandom(SALT_BYTES)
    line = msgspec.json.encode(Header(body.kind, entry.number, previous, base, epoch, salt.hex())) + b"\n"
    plain = encode_body(body, entry.at, entry.by)
    if body.signed:
        plain = signer.sign(_signed_text(keys, line, plain)) + plain
    return framing.twin(ENTRY, line + keys.sealer(b"entry", epoch, salt).encrypt(nonce(0), plain, line))


def unseal_entry(keys: Keys, payload: bytes, name: str) -> Unsealed:
    """What an entry's payload holds. Raises RefusedError for a kind unknown here, DamagedError for anything else."""
    line, newline, sealed = payload.partition(b"\n")
    line += newline
    try:
        kind = msgspec.json.decode(line, type=_Kind).kind
        if kind not in KINDS:
            raise newer_format(f"{name} is a {kind!r} entry, which this program does not know")
        header = msgspec.json.decode(line, type=Header)
        sealer = keys.sealer(b"entry", header.epoch, bytes.fromhex(header.salt))
        return Unsealed(header, line, sealer.decrypt(nonce(0), sealed, line))
    except (msgspec.MsgspecError, RecursionError, InvalidTag, ValueError) as error:
        message = f"{name} was not written with this repository's keys"
        raise DamagedError(message, hint="bring the object back from a copy", code="object-damaged") from error


def decode_creation(keys: Keys, payload: bytes, name: str) -> Create:
    """What a repository says of itself in the first entry of its log. Raises DamagedError, RefusedError."""
    header, _, plain = unseal_entry(keys, payload, name)
    body = _decoded(header, plain).body
    if not isinstance(body, Create):
        raise DamagedError(f"{name} is not the first entry of a log", code="log-chain")
    return body


def previous_of(payload: bytes, name: str) -> str:
    """The hash of the entry that an entry says it follows. Raises DamagedError."""
    try:
        return msgspec.json.decode(payload.partition(b"\n")[0], type=Header).previous
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError(f"{name} is no entry of a log", code="object-damaged") from error


def _decoded(header: Header, plain: bytes) -> Entry:
    """The entry. Raises RefusedError: what was sealed with our keys and makes no sense here is newer."""
    try:
        return decode_body(header.kind, plain, header.number)
    except (msgspec.MsgspecError, RecursionError) as error:
        name = entry_name(header.number)
        raise newer_format(f"{name}, a {header.kind!r} entry, says what this program cannot read: {error}") from error


def _signed_text(keys: Keys, line: bytes, plain: bytes) -> bytes:
    """What is signed: the line binds it to its place in this log."""
    return b"holdfast 1 entry " + keys.repository_id + line + plain
