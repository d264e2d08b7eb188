"""Decisions to be tried, points without content, and logs without backups."""

from datetime import UTC, datetime, timedelta

from holdfast.core.point import Definition, RestorePoint
from holdfast.repository import Storage
from holdfast.repository.decisions import Body, Epoch, SlotRecord
from holdfast.repository.keys import Keys, new_keys
from holdfast.repository.log import Appended, Log
from holdfast.repository.signing import Signer

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = new_keys(bytes(range(16)))
assert KEYS.signing_seed
PUBLIC_KEY = Signer.of(KEYS.signing_seed).public_key


def a_point(name: str, *, machine: str = "web01", captured_at: datetime = START) -> RestorePoint:
    return RestorePoint(
        id=name,
        machine=machine,
        machine_id=f"id of {machine}",
        created_at=captured_at,
        captured_at=captured_at,
        consistency="crash",
        parent=None,
        disks=(),
        definition=Definition(),
        verified_share=0.0,
    )


def a_change_of_keys(generation: int, epoch: int) -> Epoch:
    """An `epoch` entry that leaves slot 1 alone in force, and hands nobody anything."""
    slot = SlotRecord(number=1, kind="passphrase", label="", created_at=START, public_key="00" * 32, may_sign=True)
    return Epoch(generation=generation, epoch=epoch, slots=[slot], signing_key=PUBLIC_KEY)


class SetClock:
    """A clock that stands where it is put, forwards or backwards."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


def open_log(storage: Storage, clock: SetClock | None = None, *, keys: Keys = KEYS) -> Log:
    """The log in a storage, by somebody who has read nothing of it; entry 1 is made if there is none."""
    log = Log(storage, keys, Signer(PUBLIC_KEY, keys.signing_seed), clock=clock or SetClock())
    if not log.read().number:
        log.create(START, b"")
    return log


def decide(log: Log, body: Body) -> Appended:
    """Put a decision without judging first: what it does, the fold says."""
    return log.append(lambda _state, _now: body)
