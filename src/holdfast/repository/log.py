"""The log of decisions: create-only, densely numbered, chained entries. Their fold is the state of the repository.

Whoever creates the next number decides; the end is the first number that is absent, never what a listing, a clock or a
cache says.
"""

import os
import pwd
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from holdfast.core.errors import ConflictError, DamagedError, FailedError, HoldfastError
from holdfast.repository import framing
from holdfast.repository.decisions import Body, Create, Entry, Epoch
from holdfast.repository.framing import ENTRY
from holdfast.repository.keys import Keys
from holdfast.repository.keyset import KeySet, enter_epoch
from holdfast.repository.known_log import KnownLog, KnownLogFile
from holdfast.repository.log_entry import LOG_PREFIX, entry_name, seal_entry, unseal_entry
from holdfast.repository.signing import Signer
from holdfast.repository.state import State, Void, fold
from holdfast.repository.storage.ballast import with_ballast
from holdfast.repository.storage.port import ObjectExistsError, ObjectMissingError, Storage, StorageError

_NUMBER: Final = re.compile("[0-9]{12}")
_BEGINNING: Final = bytes(32).hex()
_PUTS: Final = 3
_ATTEMPTS: Final = 1000
"""Lost races for a number before giving up: each lost race is another writer's success."""
_FOLDED_AT_ONCE: Final = 256
"""Entries read before they are folded: a fold copies the state, and entries hold more than what is left of them."""
_KEPT_AFTER: Final = 256
"""New entries after which the fold is written down here anew: so many are read again in moments, even from far away."""

Clock = Callable[[], datetime]


class Head(msgspec.Struct, frozen=True):
    """How far the log has been read: the last entry's number, and the hash of its payload in hex."""

    number: int
    hash: str


class Appended(NamedTuple):
    """An entry that stands in the log now, the state right after it, and the bytes it took.

    What the entry did, the state says: `void` names what it did not do.
    """

    entry: Entry
    state: State
    stored_bytes: int

    @property
    def void(self) -> list[Void]:
        """What of the entry was void."""
        return self.state.voids_of(self.entry.number)


def utc_now() -> datetime:
    """What the clock of this computer says."""
    return datetime.now(UTC)


class Log:
    """The log as this process knows it, and the state that is its fold. Safe to use from many threads."""

    def __init__(
        self, storage: Storage, keys: Keys, signer: Signer, kept: KnownLogFile | None = None, clock: Clock = utc_now
    ) -> None:
        """`kept` is what this host keeps of the log, for `open` to begin with."""
        self.signer = signer
        self.clock = clock
        self._storage = storage
        self._keys = keys
        self._author = _author()
        self._reading = threading.Lock()
        self._kept = kept or KnownLogFile(None, keys)
        self._kept_number = 0
        self._hashes = [_BEGINNING]
        self._epochs: dict[int, int] = {}
        self._state = State(keys=KeySet(signing_key=signer.public_key))

    @property
    def state(self) -> State:
        """The fold of the entries read so far."""
        return self._state

    @property
    def head(self) -> Head:
        """The last entry that has been folded."""
        number = self._state.number
        return Head(number, self._hashes[number])

    def hash_of(self, number: int) -> str | None:
        """The payload hash (hex) of an entry that has been read."""
        return self._hashes[number] if number < len(self._hashes) else None

    def read(self) -> State:
        """Read every entry that has appeared, and fold it.

        Raises DamagedError (broken chain, hole), RefusedError (newer format); what came before that is folded.
        """
        with self._reading:
            while self._read_some():
                pass
            if self._state.number - self._kept_number >= _KEPT_AFTER:
                self._keep()
            return self._state

    def open(self) -> None:
        """Read for the first time, from where this host came to before if that is still what the storage holds.

        Raises as `require_no_hole` and `read` do.
        """
        listed = self._listed()
        with self._reading:
            begun = len(listed) != max(listed, default=0) or self._begin_with_kept()
        if not begun:
            listed = self._listed()  # so that what is read from its beginning is read ahead
        self.read()
        self.require_entry(max(listed, default=1))

    def last_listed(self) -> int:
        """The highest number that a listing shows; 1 if it shows none."""
        return max(self._listed(), default=1)

    def require_no_hole(self) -> None:
        """Raise DamagedError if a listing shows an entry beyond the first absent number, or if there is none at all."""
        self.require_entry(self.last_listed())

    def require_entry(self, number: int) -> None:
        """Raise DamagedError unless the log reaches this entry, which is known to have been put."""
        if number > self.state.number and number > self.read().number:
            missing = entry_name(self.state.number + 1)
            message = f"{missing} is missing although entry {number} was put: points after it cannot be seen"
            raise DamagedError(message, hint="bring the object back from a copy of the repository", code="log-hole")

    def create(self, created_at: datetime, config: bytes) -> None:
        """Write the first entry of a new repository, with the body of its configuration."""
        self.append(lambda _state, _now: Create(created_at=created_at, config=config.decode()), base=0)

    def append(self, make: Callable[[State, datetime], Body], base: int | None = None) -> Appended:
        """Put a decision under the next number; the only step of anything that everyone else can see.

        `make` is given the state right below the number about to be tried and the time, and makes the decision, each
        time anew; what it raises ends the append. `base` is the number that the work behind the decision was based on,
        by default the one below it.

        Raises DeniedError if the decision must be signed and the key for that is missing, ConflictError, FullError,
        what `read` raises, or FailedError (`outcome-unknown`): then the entry may stand or not.
        """
        for _ in range(_ATTEMPTS):
            state = self.read()
            now = self.clock()
            entry = Entry(number=state.number + 1, at=now, by=self._author, body=make(state, now))
            blob = self._sealed(entry, state, base)
            if self._put(entry, blob):
                with suppress(StorageError):  # it is durable, whether or not it can be read right now
                    self.read()
                return Appended(entry, fold(state, [entry]), len(blob))
        raise ConflictError(f"{_ATTEMPTS} others were faster to the log of {self._storage.url}", hint="run again")

    def _sealed(self, entry: Entry, state: State, base: int | None) -> bytes:
        return seal_entry(
            self._keys,
            self.signer,
            entry,
            previous=self._hashes[entry.number - 1],
            epoch=state.keys.epoch,
            base=state.number if base is None else base,
        )

    def _put(self, entry: Entry, blob: bytes) -> bool:
        """Whether the entry's number is ours.

        A put that failed may have succeeded: sending the same bytes again finds out, since it succeeds if they are
        there and is refused if another's are. Only a put that returns says that an entry is durable.
        """
        number, failures = entry.number, list[HoldfastError]()
        put = partial(self._storage.put, entry_name(number), [blob])
        if entry.body.uses_ballast:
            put = partial(with_ballast, self._storage, put)
        while len(failures) < _PUTS:
            try:
                put()
            except ObjectExistsError:
                return False
            except HoldfastError as error:
                failures.append(error)
            else:
                return True
        if self._is_absent(number):
            raise failures[-1]
        message = f"whether {entry_name(number)} is committed is unknown: {failures[-1].message}"
        hint = "see with `holdfast point list` whether it took effect before you run it again"
        raise FailedError(message, hint=hint, code="outcome-unknown") from failures[-1]

    def _is_absent(self, number: int) -> bool:
        try:
            self._storage.size(entry_name(number))
        except ObjectMissingError:
            return True
        except HoldfastError:
            return False
        return False

    def _listed(self) -> set[int]:
        """The numbers that a listing shows."""
        names = (stored.name.removeprefix(LOG_PREFIX) for stored in self._storage.list(LOG_PREFIX))
        return {int(name) for name in names if _NUMBER.fullmatch(name)} - {0}  # other programs leave other files

    def _begin_with_kept(self) -> bool:
        """Take over what is kept, if its last entry stands in the storage, whose hash says all that came before.

        Secrets of later epochs are taken from the entries that hand them over. False if what is kept is of another log.
        """
        known = None if self._state.number else self._kept.load()
        if known is None:
            return True
        wanted = [number for epoch, number in known.epochs.items() if epoch not in self._keys.epoch_keys]
        for number in (*wanted, known.state.number):
            payload = self._payload(number)
            if payload is None or blake3(payload).hexdigest() != known.hashes[number]:
                return False
            if number in wanted:
                self._enter_again(payload, number)
        self._hashes, self._epochs, self._state = known.hashes, dict(known.epochs), known.state
        self._kept_number = known.state.number
        return True

    def _enter_again(self, payload: bytes, number: int) -> None:
        """Take the secrets of an epoch from the entry that began it, which was judged when it was folded."""
        body = unseal_entry(self._keys, payload, entry_name(number)).decode_judged().body
        assert isinstance(body, Epoch)
        enter_epoch(self._keys, KeySet().after(body))

    def _keep(self) -> None:
        self._kept.save(KnownLog(state=self._state, hashes=self._hashes, epochs=self._epochs))
        self._kept_number = self._state.number

    def _read_some(self) -> bool:
        """Read and fold some entries; whether there may be more.

        An `epoch` is folded before the next entry is opened, since it says with which keys.
        """
        self._enter_epoch()
        entries: list[Entry] = []
        epoch_begins = False
        try:
            while len(entries) < _FOLDED_AT_ONCE and not epoch_begins:
                if (payload := self._payload(len(self._hashes))) is None:
                    break
                entries.append(self._open(payload))
                self._hashes.append(blake3(payload).hexdigest())
                epoch_begins = isinstance(entries[-1].body, Epoch)
        finally:
            if entries:
                self._state = fold(self._state, entries)
                if self._state.keys.epoch > 1:
                    self._epochs.setdefault(self._state.keys.epoch, self._state.number)
        return epoch_begins or len(entries) == _FOLDED_AT_ONCE

    def _enter_epoch(self) -> None:
        """Raises KeyRemovedError, now and ever after, if the slot that the keys came from is left out of the epoch."""
        enter_epoch(self._keys, self._state.keys)
        if self.signer.public_key != self._state.keys.signing_key:
            self.signer.follow(self._state.keys.signing_key, self._keys.signing_seed)

    def _payload(self, number: int) -> bytes | None:
        try:
            blob = self._storage.get(entry_name(number))
        except ObjectMissingError:
            return None
        return framing.untwin(ENTRY, blob, entry_name(number)).payload

    def _open(self, payload: bytes) -> Entry:
        """The entry that follows those read."""
        number = len(self._hashes)
        unsealed = unseal_entry(self._keys, payload, entry_name(number))
        header = unsealed.header
        if header.number != number or header.previous != self._hashes[-1]:
            message = f"{entry_name(number)} does not follow the entry before it: the log was put together from two"
            raise DamagedError(message, hint="bring the log back from one copy of the repository", code="log-chain")
        if header.epoch != self._state.keys.epoch:
            message = (
                f"{entry_name(number)} is sealed in epoch {header.epoch}, after epoch {self._state.keys.epoch} began"
            )
            raise DamagedError(message, hint="bring the log back from one copy of the repository", code="log-epoch")
        return unsealed.decode(self._keys, self.signer)


def _author() -> str:
    """Who decides here: user@host."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
