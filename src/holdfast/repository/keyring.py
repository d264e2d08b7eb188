"""Opening by any slot, and changing who has a key.

    add      slot durable, proved to open -> entry that puts it in force
    change   slot durable, proved to open -> entry that puts it in force instead of another -> the other's object goes
    remove   entry with a new epoch for the others -> the slot's object goes
    rotate   entry with a new epoch for all

The entry decides; before it the old slots open, after it the new ones, and an object is deleted only when no slot of
its number can ever be in force again. Each slot has two names, so that no single lost file locks anybody out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from holdfast.core.errors import ConflictError, DamagedError, DeniedError, HoldfastError, NotFoundError, RefusedError
from holdfast.repository import framing
from holdfast.repository.decisions import Epoch, SlotRecord
from holdfast.repository.framing import SLOT
from holdfast.repository.keys import Keys, SlotKind, new_epoch
from holdfast.repository.keyset import (
    MAXIMUM_SLOTS,
    KeyRemovedError,
    KeySet,
    key_removed,
    next_epoch,
    record_of,
    same_epoch,
)
from holdfast.repository.log import Log
from holdfast.repository.recovery import as_recovery_key, typing_error
from holdfast.repository.recovery_shares import key_of_shares, shares_error
from holdfast.repository.slots import KdfCost, NewSlot, Slot, decode_slot, not_a_slot, open_slot, seal_slot
from holdfast.repository.state import State
from holdfast.repository.storage.port import ObjectExistsError, ObjectMissingError, Storage

_FOLDER: Final = "keys/"
_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")
_SLOT_BYTES: Final = 4 * 1024 * 1024
"""A slot takes about 1.5 KiB twice; what is larger than this is none, and not read."""
_OBJECTS: Final = 4 * MAXIMUM_SLOTS
"""Two for each slot and as many that were left behind; each more would cost whoever opens a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a new slot is to open with."""

    content: bytes
    kind: SlotKind
    cost: KdfCost

    def __repr__(self) -> str:
        return f"Secret({self.kind})"


def slot_names(number: int) -> tuple[str, str]:
    """Where a slot stands in the storage."""
    return f"{_FOLDER}{number}", f"{_FOLDER}{number}.2"


def put_slot(storage: Storage, keys: Keys, secret: Secret, new: NewSlot) -> Keys:
    """Make a slot durable, and prove that it opens. Returns the keys as it gives them.

    Raises ObjectExistsError if there is one of that number.
    """
    payload = seal_slot(keys, secret.content, secret.cost, new)
    for name in slot_names(new.number):
        storage.put(name, [framing.twin(SLOT, payload)])
    for name, slot in _read_slots(storage, slot_names(new.number)):
        if opened := open_slot(slot, secret.content, keys.repository_id, name):
            return opened
    raise DamagedError(f"key slot {new.number} does not open after it was written", hint="check the storage")


def opened_slots(storage: Storage, secret: bytes, repository_id: bytes) -> Iterator[Keys]:
    """The keys of every slot that a secret opens, the quickest to try first; whether one is in force, the log says.

    Raises DeniedError if it opens none, and what is wrong with the slots if none of them could be tried.
    """
    sizes = dict(sorted(storage.list(_FOLDER)))
    if not sizes:
        raise DamagedError(f"{storage.url} has no key slots", hint="bring `keys/` back from a copy", code="no-keys")
    if len(sizes) > _OBJECTS:
        message = f"{storage.url} has {len(sizes)} objects below {_FOLDER}, more than any repository"
        raise DamagedError(message, hint=f"remove those from {_FOLDER} that are not its own", code="too-many-slots")
    failures: list[HoldfastError] = [not_a_slot(name) for name, size in sizes.items() if size > _SLOT_BYTES]
    names = [name for name, size in sizes.items() if size <= _SLOT_BYTES]
    secrets = [each for each in (secret, as_recovery_key(secret), key_of_shares(secret)) if each is not None]
    tried = opened = False
    for name, slot in sorted(_read_slots(storage, names, failures), key=lambda each: each[1].effort):
        for each in dict.fromkeys(secrets):
            try:
                keys = open_slot(slot, each, repository_id, name)
            except HoldfastError as error:
                failures.append(error)
                continue
            tried = True
            if keys is not None:
                opened = True
                yield keys
    if not opened:
        raise wrong_secret(storage.url, secret, failures) if tried else failures[-1]


def wrong_secret(url: str, secret: bytes, failures: Sequence[HoldfastError]) -> DeniedError:
    """The error when no slot opens, although some could be tried."""
    if error := typing_error(secret):
        return DeniedError(error, hint="compare it with what was written down", code="recovery-key")
    if wrong := shares_error(secret):
        return wrong
    damage = f", and one that may be its slot could not be tried: {failures[-1].message}" if failures else ""
    return DeniedError(
        f"the passphrase does not open {url}{damage}",
        hint="check HOLDFAST_PASSPHRASE, --passphrase-file, --passphrase-command or --key-file; of a copy's target, "
        "HOLDFAST_TARGET_PASSPHRASE",
        code="wrong-passphrase",
    )


class Keyring:
    """The slots of an open repository."""

    def __init__(self, storage: Storage, keys: Keys, log: Log, created_at: datetime) -> None:
        self._storage = storage
        self._keys = keys
        self._log = log
        self._created_at = created_at

    @property
    def in_use(self) -> int:
        """The slot that the repository was opened with."""
        assert self._keys.holder
        return self._keys.holder.number

    def require_in_force(self) -> None:
        """Raise KeyRemovedError unless the slot in use is one of the repository's, as far as the log has been read."""
        self._require_in_force(self._log.state)

    def slots(self) -> list[SlotRecord]:
        """The slots in force, by number."""
        return sorted(self._records(self._log.read().keys), key=lambda each: each.number)

    def unfinished(self) -> list[int]:
        """Slots that stand in the storage and were never in force: somebody is adding them, or did not get that far."""
        known = self._log.read().keys
        return sorted(self._stored_numbers() - known.numbers - known.retired)

    def read(self, number: int) -> bytes:
        """The object of a slot, half of its twin frame: enough to put the slot back."""
        blob = self._storage.get(slot_names(number)[0])
        return blob[: len(blob) // 2]

    def add(self, secret: Secret, label: str, *, may_sign: bool = True) -> SlotRecord:
        """One more slot. Raises RefusedError for a secret that opens one: removing either would revoke nothing."""
        self._require_new(secret)
        return self._put_in_force(secret, label, may_sign=may_sign, instead_of=None)

    def change(self, secret: Secret) -> SlotRecord:
        """Another secret for the slot in use: a slot of another number that may do what the old one could.

        Until `sweep` the old one's object is there, and opens nothing.
        """
        self._require_new(secret)
        (mine,) = (each for each in self.slots() if each.number == self.in_use)
        return self._put_in_force(secret, mine.label, may_sign=mine.may_sign, instead_of=mine.number)

    def remove(self, number: int) -> int:
        """Take a slot out of force, for good: what is sealed from now on it cannot open. Returns the new epoch.

        Raises RefusedError for the slot in use, since only a key that was proved to open may be the last.
        """
        if number == self.in_use:
            raise RefusedError(
                f"key {number} is the one that is in use",
                hint="open the repository with another key, which proves that it opens, and remove this one then",
                code="key-in-use",
            )
        known = self._log.read().keys
        if number not in known.numbers | known.retired | self._stored_numbers():
            raise NotFoundError(f"there is no key {number}", hint="see `holdfast repository keys list`", code="no-key")
        epoch = known.epoch if number in known.retired else self._begin_epoch(without=number)
        self._delete([number])
        return epoch

    def rotate(self) -> int:
        """A new epoch for all slots. Returns its number."""
        return self._begin_epoch(without=None)

    def sweep(self) -> list[int]:
        """Delete what is left of slots that were in force once. Returns those that the storage keeps all the same."""
        retired = self._log.state.keys.retired
        self._delete(retired & self._stored_numbers())
        return sorted(retired & self._stored_numbers())

    def complete(self) -> None:
        """Put the second name of every slot that has only one."""
        names = {stored.name for stored in self._storage.list(_FOLDER)}
        for number in self._log.state.keys.numbers:
            for name, other in (slot_names(number), slot_names(number)[::-1]):
                if name not in names and other in names:
                    with suppress(ObjectMissingError):  # somebody is removing it
                        self._storage.put(name, [self._storage.get(other)])

    def _require_in_force(self, state: State) -> None:
        assert self._keys.holder
        if not state.keys.has(self._keys.holder):
            raise key_removed(self._keys.holder)

    def _records(self, known: KeySet) -> list[SlotRecord]:
        return known.records(self._keys, self._created_at)

    def _require_new(self, secret: Secret) -> None:
        known = self._log.read().keys.numbers
        try:
            opened = [keys.holder for keys in opened_slots(self._storage, secret.content, self._keys.repository_id)]
        except (DeniedError, DamagedError):  # it opens none
            return
        if numbers := sorted(holder.number for holder in opened if holder and holder.number in known):
            raise RefusedError(
                f"this secret opens key {numbers[0]} already",
                hint="choose another secret; each key has one of its own, so that it can be removed",
                code="secret-in-use",
            )

    def _put_in_force(self, secret: Secret, label: str, *, may_sign: bool, instead_of: int | None) -> SlotRecord:
        self._log.signer.require()
        known = self._log.read().keys
        slot = self._put_next(secret, known, may_sign=may_sign)
        assert slot.holder
        number = slot.holder.number

        def decide(state: State, now: datetime) -> Epoch:
            if state.keys.epoch != slot.epoch:
                message = "somebody else began a new epoch meanwhile"
                raise ConflictError(message, hint="run again", code="epoch-began")
            others = [each for each in self._records(state.keys) if each.number != instead_of]
            return same_epoch(state.keys, [*others, record_of(slot, label, now)])

        try:
            decided = self._decide(decide)
        except (ConflictError, KeyRemovedError, RefusedError):
            self._delete([number])
            raise
        return next(each for each in decided.slots if each.number == number)

    def _put_next(self, secret: Secret, known: KeySet, *, may_sign: bool) -> Keys:
        """A slot under the first free number."""
        number = max(known.numbers | known.retired | self._stored_numbers())
        numbers = sorted(known.numbers)
        while True:
            number += 1
            new = NewSlot(
                number=number,
                generation=known.generation + 1,
                slots=[*numbers, number],
                kind=secret.kind,
                may_sign=may_sign,
            )
            with suppress(ObjectExistsError):
                return put_slot(self._storage, self._keys, secret, new)

    def _begin_epoch(self, *, without: int | None) -> int:
        def decide(state: State, _now: datetime) -> Epoch:
            left = [each for each in self._records(state.keys) if each.number != without]
            return next_epoch(state.keys, left, new_epoch(state.keys.epoch + 1), self._keys.repository_id)

        self._log.signer.require()
        return self._decide(decide).epoch

    def _decide(self, decide: Callable[[State, datetime], Epoch]) -> KeySet:
        """Append a change of the set; what it leads to. Raises KeyRemovedError if the slot in use is not in force.

        A slot that was changed keeps the epoch's keys, so that backups under way come home; it decides nothing.
        """

        def judge(state: State, now: datetime) -> Epoch:
            self._require_in_force(state)
            return decide(state, now)

        appended = self._log.append(judge)
        assert not appended.void, appended.void
        return appended.state.keys

    def _delete(self, numbers: Iterable[int]) -> None:
        """Delete what opens nothing any more, as far as the storage lets us: the decision stands either way."""
        for number in numbers:
            for name in slot_names(number):
                with suppress(HoldfastError):
                    self._storage.delete(name)

    def _stored_numbers(self) -> frozenset[int]:
        """Slots of which there is an object, whatever is in it."""
        stems = (stored.name.removeprefix(_FOLDER).removesuffix(".2") for stored in self._storage.list(_FOLDER))
        return frozenset(int(stem) for stem in stems if _NUMBER.fullmatch(stem))


def _read_slots(
    storage: Storage, names: Iterable[str], failures: list[HoldfastError] | None = None
) -> Iterator[tuple[str, Slot]]:
    """Each different slot that can be read, with a name it has; why others cannot is added to `failures`."""
    seen: set[Slot] = set()
    for name in names:
        try:
            slot = decode_slot(framing.untwin(SLOT, storage.get(name), name).payload, name)
        except HoldfastError as error:
            if failures is not None:
                failures.append(error)
            continue
        if slot not in seen:
            seen.add(slot)
            yield name, slot
