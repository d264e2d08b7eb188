"""Handing an open repository to a child process: its keys, so that nobody types, waits or derives anything twice.

The bytes are as secret as the keys: they go through a pipe or a socket between the two, nowhere else.
"""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.repository.broken_log import BrokenLog
from holdfast.repository.config import Config
from holdfast.repository.keys import Holder, Keys, SlotKind
from holdfast.repository.log import Log
from holdfast.repository.repository import Repository
from holdfast.repository.storage.port import Storage


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    """See `Holder`."""

    number: int
    generation: int
    kind: SlotKind
    private_key: bytes


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What an open repository is made of, beside its storage."""

    config: Config
    content_secret: bytes
    epoch_keys: dict[int, bytes]
    signing_seed: bytes | None
    holder: _Holder
    log_is_broken: bool


def hand_over(repository: Repository) -> bytes:
    """What another process needs to have the same repository open."""
    keys = repository.keys
    assert keys.holder
    opened = _Opened(
        config=repository.config,
        content_secret=keys.content_secret,
        epoch_keys=dict(keys.epoch_keys),
        signing_seed=keys.signing_seed,
        holder=_Holder(
            number=keys.holder.number,
            generation=keys.holder.generation,
            kind=keys.holder.kind,
            private_key=keys.holder.private_key.private_bytes_raw(),
        ),
        log_is_broken=isinstance(repository.log, BrokenLog),
    )
    return msgspec.msgpack.encode(opened)


def take_over(storage: Storage, handed: bytes, cache: Path | None = None) -> Repository:
    """The repository that `hand_over` gave, in the same storage. Raises what reading its log raises."""
    opened = msgspec.msgpack.decode(handed, type=_Opened)
    holder = Holder(
        number=opened.holder.number,
        generation=opened.holder.generation,
        kind=opened.holder.kind,
        private_key=X25519PrivateKey.from_private_bytes(opened.holder.private_key),
    )
    identity = bytes.fromhex(opened.config.id)
    keys = Keys(identity, opened.content_secret, opened.epoch_keys, opened.signing_seed, holder)
    repository = Repository(storage, opened.config, keys, BrokenLog if opened.log_is_broken else Log, cache)
    repository.log.open()
    return repository
