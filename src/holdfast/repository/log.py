"""The log of decisions: create-only, densely numbered, chained entries. Their fold is the state of the repository.

Each entry `log/<12 digits>` is a twin frame of

    header   one line of JSON: kind, number, previous (hex BLAKE3-256 of the payload before), base, epoch, salt
    sealed   AES-256-GCM of the body (JSON) under a key of this entry alone, with the header line as associated data

Whoever creates the next number decides; the end is the first number that is absent, never what a listing, a clock or a
cache says. An entry of a kind that this program does not know was written by a newer one: it stops, because what it
cannot read might be the decision that forbids what it is about to do.
"""

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag

from holdfast.core.errors import ConflictError, DamagedError, FailedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.selection import in_order
from holdfast.repository import framing
from holdfast.repository.config import newer_format
from holdfast.repository.framing import ENTRY
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.packs import nonce
from holdfast.repository.storage.port import ObjectExistsError, ObjectMissingError, Storage, StorageError

_PREFIX: Final = "log/"
_NUMBER: Final = re.compile("[0-9]{12}")
_BEGINNING: Final = bytes(32).hex()
_PUTS: Final = 3
_ATTEMPTS: Final = 1000
"""Lost races for a number before giving up: each lost race is another writer's success."""


class _Kind(msgspec.Struct, frozen=True):
    """What even the newest entry says of itself."""

    kind: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clear part of an entry."""

    kind: Literal["create", "commit"]
    number: int
    previous: str
    base: int
    epoch: int
    salt: str


class _Commit(msgspec.Struct, frozen=True):
    """Body of a commit: points that come into being together."""

    points: list[RestorePoint]


class Head(msgspec.Struct, frozen=True):
    """How far the log has been read: the last entry's number, and the hash of its payload in hex."""

    number: int
    hash: str


class Committed(NamedTuple):
    """A point that exists now, with its time of creation, and the bytes its entry took."""

    point: RestorePoint
    stored_bytes: int


class Log:
    """The log as this process knows it, and the points that are its fold. Safe to use from many threads."""

    def __init__(self, storage: Storage, keys: Keys) -> None:
        self._storage = storage
        self._keys = keys
        self._reading = threading.Lock()
        self._hashes = [_BEGINNING]
        self._points: dict[str, RestorePoint] = {}

    @property
    def head(self) -> Head:
        """The last entry that has been read."""
        return Head(len(self._hashes) - 1, self._hashes[-1])

    def hash_of(self, number: int) -> str | None:
        """The payload hash (hex) of an entry that has been read."""
        return self._hashes[number] if number < len(self._hashes) else None

    def points(self) -> list[RestorePoint]:
        """The points of the entries read so far, by capture time."""
        return in_order(self._points.copy().values())

    def newest_of(self, machine_id: str) -> RestorePoint | None:
        """The machine's point that was committed last: the log's order, not a clock that may have been wrong."""
        mine = [point for point in self._points.copy().values() if point.machine_id == machine_id]
        return mine[-1] if mine else None

    def read(self) -> Head:
        """Read every entry that has appeared. Raises DamagedError (broken chain, hole), RefusedError (newer format)."""
        with self._reading:
            while (payload := self._payload(self.head.number + 1)) is not None:
                self._fold(payload)
            return self.head

    def require_no_hole(self) -> None:
        """Raise DamagedError if a listing shows an entry beyond the first absent number, or if there is none at all."""
        names = (stored.name.removeprefix(_PREFIX) for stored in self._storage.list(_PREFIX))
        numbers = (int(name) for name in names if _NUMBER.fullmatch(name))  # other programs leave files of other names
        self.require_entry(max(numbers, default=1))

    def require_entry(self, number: int) -> None:
        """Raise DamagedError unless the log reaches this entry, which is known to have been put."""
        if number > self.head.number and number > self.read().number:
            missing = entry_name(self.head.number + 1)
            message = f"{missing} is missing although entry {number} was put: points after it cannot be seen"
            raise DamagedError(message, hint="bring the object back from a copy of the repository", code="log-hole")

    def create(self, created_at: datetime) -> None:
        """Write the first entry of a new repository."""
        self._append("create", 0, lambda: msgspec.json.encode({"created_at": created_at}))

    def commit(self, make: Callable[[datetime], RestorePoint], base: int) -> Committed:
        """Make a point exist; the only step of a backup that anyone else can see.

        `make` is given the time of the commit and makes the point, on the state right below the number about to be
        tried, each time anew; what it raises ends the commit.
        """
        made: list[RestorePoint] = []

        def body() -> bytes:
            made.append(make(datetime.now(UTC)))
            return msgspec.json.encode(_Commit(made[-1:]))

        stored_bytes = self._append("commit", base, body)
        return Committed(made[-1], stored_bytes)

    def _append(self, kind: Literal["create", "commit"], base: int, body: Callable[[], bytes]) -> int:
        """Put the next number: read all below, build on exactly that, put; if taken, again. Returns bytes stored."""
        for _ in range(_ATTEMPTS):
            head = self.read()
            salt = os.urandom(SALT_BYTES)
            header = _Header(kind, head.number + 1, head.hash, base, self._keys.epoch, salt.hex())
            line = msgspec.json.encode(header) + b"\n"
            sealer = self._keys.sealer(b"entry", self._keys.epoch, salt)
            payload = line + sealer.encrypt(nonce(0), body(), line)
            blob = framing.twin(ENTRY, payload)
            if self._put(head.number + 1, blob):
                with suppress(StorageError):  # it is durable, whether or not it can be read right now
                    self.read()
                return len(blob)
        raise ConflictError(f"{_ATTEMPTS} others were faster to the log of {self._storage.url}", hint="run again")

    def _put(self, number: int, blob: bytes) -> bool:
        """Whether entry `number` is ours.

        A put that failed may have succeeded: sending the same bytes again finds out, since it succeeds if they are
        there and is refused if another's are. Only a put that returns says that an entry is durable.
        """
        failures: list[HoldfastError] = []
        while len(failures) < _PUTS:
            try:
                self._storage.put(entry_name(number), [blob])
            except ObjectExistsError:
                return False
            except HoldfastError as error:
                failures.append(error)
            else:
                return True
        if self._is_absent(number):
            raise failures[-1]
        message = f"whether {entry_name(number)} is committed is unknown: {failures[-1].message}"
        hint = "see with `holdfast point list` whether the point is there before you run it again"
        raise FailedError(message, hint=hint, code="outcome-unknown") from failures[-1]

    def _is_absent(self, number: int) -> bool:
        try:
            self._storage.size(entry_name(number))
        except ObjectMissingError:
            return True
        except HoldfastError:
            return False
        return False

    def _payload(self, number: int) -> bytes | None:
        try:
            blob = self._storage.get(entry_name(number))
        except ObjectMissingError:
            return None
        return framing.untwin(ENTRY, blob, entry_name(number)).payload

    def _fold(self, payload: bytes) -> None:
        """Take one entry into the state."""
        number = self.head.number + 1
        header, body = _open(self._keys, payload, entry_name(number))
        if header.number != number or header.previous != self.head.hash:
            message = f"{entry_name(number)} does not follow the entry before it: the log was put together from two"
            raise DamagedError(message, hint="bring the log back from one copy of the repository", code="log-chain")
        if header.kind == "commit":
            for stored in _points_of(body, entry_name(number)):
                self._points[stored.id] = stored
        self._hashes.append(blake3(payload).hexdigest())


def entry_name(number: int) -> str:
    """Where entry `number` stands in the storage."""
    return f"{_PREFIX}{number:012}"


def _open(keys: Keys, payload: bytes, name: str) -> tuple[_Header, bytes]:
    """(header, body) of an entry. Raises RefusedError for a kind unknown here, DamagedError for anything else."""
    line, _, sealed = payload.partition(b"\n")
    try:
        kind = msgspec.json.decode(line, type=_Kind).kind
        if kind not in {"create", "commit"}:
            raise newer_format(f"{name} is a {kind!r} entry, which this program does not know")
        header = msgspec.json.decode(line, type=_Header)
        sealer = keys.sealer(b"entry", header.epoch, bytes.fromhex(header.salt))
        return header, sealer.decrypt(nonce(0), sealed, line + b"\n")
    except (msgspec.MsgspecError, RecursionError, InvalidTag, ValueError) as error:
        message = f"{name} was not written with this repository's keys"
        raise DamagedError(message, hint="bring the object back from a copy", code="object-damaged") from error


def _points_of(body: bytes, name: str) -> list[RestorePoint]:
    """The points of a commit. Raises RefusedError: what was sealed with our keys and makes no sense here is newer."""
    try:
        return msgspec.json.decode(body, type=_Commit).points
    except (msgspec.MsgspecError, RecursionError) as error:
        raise newer_format(f"{name} holds points that this program cannot read: {error}") from error
