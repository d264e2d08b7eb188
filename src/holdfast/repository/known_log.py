"""What this host keeps of a log between runs: its fold so far, so that opening costs what is new and not what is old.

A file of two parts. Any process of this user may put a newer file in its place at any time.

    salt      32 bytes
    sealed    AES-256-GCM of the compressed JSON of a `_Written`, under a key that only the holder of the same key slot
              can make; associated data: the program's version, the shape of what is written, the kinds of decisions

So a program of another version, which might fold otherwise or stop at what this one did not know, does not open it.
Nothing here is trusted further than the log itself: whoever uses it asks the storage for the last entry, whose hash
says everything before it.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag

from holdfast.repository.decisions import KINDS
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.keyset import KeySet
from holdfast.repository.packs import nonce
from holdfast.repository.state import Standing, State, Void

_FOLD: Final = 1
"""To be raised when the same entries are to fold to something else, which nothing else would tell."""
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLog:
    """A log up to an entry: the state there, the payload hash (hex) of each entry, and which entry began which epoch.

    `hashes` begins with what the first entry follows, so that an entry's number is its place.
    """

    state: State
    hashes: list[str]
    epochs: Mapping[int, int]


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """A `KnownLog` as JSON can hold it."""

    hashes: bytes
    epochs: Mapping[int, int]
    standings: list[Standing]
    purged: Mapping[str, int]
    condemned: Mapping[str, int]
    damaged: list[tuple[str, int, int]]
    keys: KeySet
    voids: tuple[Void, ...]


class KnownLogFile:
    """Keeps one `KnownLog` for each key slot in a directory; nothing if that is None.

    A file that cannot be used is none, and fails nobody.
    """

    def __init__(self, directory: Path | None, keys: Keys) -> None:
        self._path = directory / f"log-{keys.holder.number}" if directory and keys.holder else None
        self._keys = keys

    def load(self) -> KnownLog | None:
        """What is kept here for this holder, by a program that folds as this one does."""
        if self._path is None:
            return None
        try:
            blob = self._path.read_bytes()
            sealer = self._keys.host_sealer(b"known log", blob[:SALT_BYTES])
            packed = sealer.decrypt(nonce(0), blob[SALT_BYTES:], _shape())
            written = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(packed), type=_Written)
        except (OSError, InvalidTag, ValueError, zstandard.ZstdError, msgspec.MsgspecError):
            return None
        return _read(written)

    def save(self, known: KnownLog) -> None:
        """Keep this instead. It lasts as long as the system runs: what a power cut leaves does not open, if need be."""
        if self._path is None:
            return
        salt = os.urandom(SALT_BYTES)
        packed = zstandard.ZstdCompressor(level=1).compress(msgspec.json.encode(_write(known)))
        blob = salt + self._keys.host_sealer(b"known log", salt).encrypt(nonce(0), packed, _shape())
        draft = self._path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                draft.write_bytes(blob)
                draft.replace(self._path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise


def _write(known: KnownLog) -> _Written:
    state = known.state
    return _Written(
        hashes=bytes.fromhex("".join(known.hashes)),
        epochs=known.epochs,
        standings=list(state.standings.values()),
        purged=state.purged,
        condemned=state.condemned,
        damaged=[(pack, record, number) for (pack, record), number in state.damaged.items()],
        keys=state.keys,
        voids=state.voids,
    )


def _read(written: _Written) -> KnownLog:
    hashes = written.hashes
    state = State(
        number=len(hashes) // _HASH_BYTES - 1,
        standings={each.point.id: each for each in written.standings},
        purged=written.purged,
        condemned=written.condemned,
        damaged={(pack, record): number for pack, record, number in written.damaged},
        keys=written.keys,
        voids=written.voids,
    )
    each_hash = [hashes[at : at + _HASH_BYTES].hex() for at in range(0, len(hashes), _HASH_BYTES)]
    return KnownLog(state=state, hashes=each_hash, epochs=written.epochs)


@cache
def _shape() -> bytes:
    schema = msgspec.json.encode(msgspec.json.schema(_Written), order="deterministic")
    return f"{version('holdfast')} {_FOLD} {' '.join(KINDS)} ".encode() + schema
