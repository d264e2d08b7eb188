"""Decisions: what each kind of log entry says, and how that is written down.

The JSON of an entry holds the fields of its body and, since format 1 knows more than `create` and `commit`, when and by
whom it was decided. What may lead to bytes being deleted is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, ClassVar, Final

import msgspec

from holdfast.core.point import RestorePoint
from holdfast.core.verification import CheckOutcome
from holdfast.repository.keys import SlotKind
from holdfast.repository.plausible import require_plausible

Moment = Annotated[datetime, msgspec.Meta(tz=True)]

UNKNOWN_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""The time of entries that name none: before any lock or hold ends, so that nothing is deleted by it."""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision says, beside who took it and when."""

    kind: ClassVar[str]
    signed: ClassVar[bool] = False
    uses_ballast: ClassVar[bool] = False
    """Whether it is put on a full disk too. What backups put is not, else they would use the ballast up."""


class Create(Body, frozen=True, kw_only=True):
    """Entry 1, and only that. `config` repeats the body of the configuration, which may be lost."""

    kind = "create"
    created_at: datetime
    config: str = ""


class Commit(Body, frozen=True, kw_only=True):
    """These points come into being together, locked until that time if one is given."""

    kind = "commit"
    points: list[RestorePoint]
    locked_until: Moment | None = None


class PointDecision(Body, frozen=True, kw_only=True):
    """A decision about points, by their ids."""

    uses_ballast = True
    points: list[str]


class Forget(PointDecision, frozen=True, kw_only=True):
    """These points go to the trash: they are listed apart, and keep everything they need until they are purged."""

    kind = "forget"
    signed = True
    reason: str = ""


class Undelete(PointDecision, frozen=True, kw_only=True):
    """These points come back from the trash."""

    kind = "undelete"


class Purge(PointDecision, frozen=True, kw_only=True):
    """These points leave the trash for good; what only they need may be deleted."""

    kind = "purge"
    signed = True


class Pin(PointDecision, frozen=True, kw_only=True):
    """No retention rule drops these points."""

    kind = "pin"


class Unpin(PointDecision, frozen=True, kw_only=True):
    """Retention rules judge these points again."""

    kind = "unpin"
    signed = True


class Hold(PointDecision, frozen=True, kw_only=True):
    """Nothing deletes these points until the hold of this id is released or, if it says so, is over.

    A reader's hold is over by itself, since a reader may die; a person's lasts until it is released.
    """

    kind = "hold"
    hold: str
    until: Moment | None = None
    reason: str = ""


class Release(PointDecision, frozen=True, kw_only=True):
    """These holds on these points end."""

    kind = "release"
    signed = True
    holds: list[str]


class Lock(PointDecision, frozen=True, kw_only=True):
    """Nothing deletes these points before this time, and nobody can take that back."""

    kind = "lock"
    until: Moment


class Verified(Body, frozen=True, kw_only=True):
    """A point was recovered on trial, and this came out. The newest of these counts.

    `picture` is the root (hex) of a PNG of the console: a tiny disk, as definitions are.
    """

    kind = "verified"
    point: str
    checks: list[CheckOutcome]
    picture: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class Condemn(Body, frozen=True, kw_only=True):
    """Nothing relies on these packs (names in hex) any more, and nothing ever will: they may be deleted."""

    kind = "condemn"
    signed = True
    uses_ballast = True
    packs: list[str]


class Damage(Body, frozen=True, kw_only=True):
    """These records, per pack (name in hex), cannot be read: they count for nothing."""

    kind = "damage"
    records: dict[str, list[int]]


class Repaired(Body, frozen=True, kw_only=True):
    """These records can be read again, since their pack was brought back."""

    kind = "repaired"
    records: dict[str, list[int]]


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key slot in force. Later epochs are handed to its X25519 key (hex)."""

    number: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    kind: SlotKind
    label: str
    created_at: Moment
    public_key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    may_sign: bool


class Epoch(Body, frozen=True, kw_only=True):
    """From here on these key slots are in force, everything is sealed in this epoch, and signed with this key (hex).

    If the epoch is a new one, `handed` has its secrets for every slot, by number.
    """

    kind = "epoch"
    signed = True
    uses_ballast = True
    generation: int
    epoch: int
    slots: list[SlotRecord]
    signing_key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    handed: dict[str, str] = {}


class Forged(Body, frozen=True, kw_only=True):
    """What claims to be a decision of a signed kind, without the signature."""

    kind = "forged"
    claimed: str


_BODIES: Final[tuple[type[Body], ...]] = (
    Create, Commit, Forget, Undelete, Purge, Pin, Unpin, Hold, Release, Lock, Verified, Condemn, Damage, Repaired,
    Epoch,
)  # fmt: skip
KINDS: Final[Mapping[str, type[Body]]] = MappingProxyType({each.kind: each for each in _BODIES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A decision at its place in the log: taken at that time by that user@host."""

    number: int
    at: datetime
    by: str
    body: Body


class _Stamp(msgspec.Struct, frozen=True):
    """Who decided, and when; entries of the first program do not say it."""

    at: Moment | None = None
    by: str = ""


def encode_body(body: Body, at: datetime, by: str) -> bytes:
    """The JSON of a decision."""
    return msgspec.json.encode({"at": at, "by": by, **msgspec.structs.asdict(body)})


def decode_body(kind: str, plain: bytes, number: int) -> Entry:
    """The entry that this JSON is the body of. Raises msgspec.MsgspecError, RecursionError."""
    stamp = msgspec.json.decode(plain, type=_Stamp)
    body: Body = msgspec.json.decode(plain, type=KINDS[kind])
    for point in body.points if isinstance(body, Commit) else ():
        require_plausible(point)
    return Entry(number=number, at=stamp.at or UNKNOWN_TIME, by=stamp.by, body=body)
