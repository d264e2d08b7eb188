"""The state of a repository: the pure fold of all decisions.

The fold, not the author, says what an entry does. Judged point by point, on the state right below the entry and by the
entry's own time, a decision is void for a point

    forget              that is not live, or that is pinned, held or locked
    undelete            that is not in the trash
    purge               that is not in the trash, or that is held or locked
    pin, unpin          that is in the trash; that is not pinned
    release             that has no such hold
    lock                that is locked for longer
    commit              whose id was given before
    all but commit      that was purged or never was

and so is an `epoch` that does not follow the set of keys before it,
and so is a whole `forget, purge, unpin, release, condemn, epoch` without the signature of the repository's key. Void
stays void, whatever comes later. A purge is final: nothing brings its point back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, singledispatchmethod
from typing import Any, NamedTuple

from holdfast.core.point import PointState, RestorePoint
from holdfast.core.verification import Verification
from holdfast.repository.decisions import (
    UNKNOWN_TIME,
    Body,
    Commit,
    Condemn,
    Damage,
    Entry,
    Epoch,
    Forged,
    Forget,
    Hold,
    Lock,
    Pin,
    Purge,
    Release,
    Repaired,
    Undelete,
    Unpin,
    Verified,
)
from holdfast.repository.keyset import KeySet

PackRecord = tuple[str, int]
"""A pack's name in hex and the number of a record in it."""


class Void(NamedTuple):
    """A decision that did nothing, for one point or (point is None) at all, and why."""

    number: int
    kind: str
    point: str | None
    why: str


class Holding(NamedTuple):
    """A hold on a point."""

    until: datetime | None
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A point that has not been purged, and what has been decided about it.

    `number` is its commit's. In the trash it is since `trashed_at`, put there by `trashed_by`. `verification` is the
    last there was.
    """

    point: RestorePoint
    number: int
    pinned: bool = False
    holds: Mapping[str, Holding] = field(default_factory=dict)
    locked_until: datetime | None = None
    trashed_at: datetime | None = None
    trashed_by: str = ""
    verification: Verification | None = None

    @property
    def live(self) -> bool:
        """Whether it is not in the trash."""
        return self.trashed_at is None

    def holds_at(self, now: datetime) -> dict[str, Holding]:
        """The holds that are not over."""
        return {name: hold for name, hold in self.holds.items() if hold.until is None or hold.until > now}

    def seen_at(self, now: datetime) -> RestorePoint:
        """The point with the state that lists show."""
        state: PointState = "trash" if not self.live else "held" if self.holds_at(now) else "live"
        return replace(self.point, state=state)

    def why_kept(self, now: datetime) -> str:
        """What forbids to delete it, in words; empty if nothing does."""
        if self.locked_until is not None and self.locked_until > now:
            return f"locked until {self.locked_until.isoformat(sep=' ', timespec='seconds')}"
        return "held" if self.holds_at(now) else ""

    def why_not_forgotten(self, now: datetime) -> str:
        """What forbids to move it to the trash; empty if nothing does."""
        if not self.live:
            return "in the trash already"
        return self.why_kept(now) or ("pinned" if self.pinned else "")

    def why_not_purged(self, now: datetime) -> str:
        """What forbids to purge it; empty if nothing does."""
        return "not in the trash" if self.live else self.why_kept(now)


@dataclass(frozen=True, kw_only=True)
class State:
    """The fold of the entries 1 to `number`. Never changes.

    `standings` are all points but the purged ones, in the order of their commits; whatever they need is kept. The
    mappings from packs and records give the number of the entry that condemned or marked them.
    """

    number: int = 0
    standings: Mapping[str, Standing] = field(default_factory=dict)
    purged: Mapping[str, int] = field(default_factory=dict)
    condemned: Mapping[str, int] = field(default_factory=dict)
    damaged: Mapping[PackRecord, int] = field(default_factory=dict)
    keys: KeySet = field(default_factory=KeySet)
    voids: tuple[Void, ...] = ()

    @cached_property
    def points(self) -> Mapping[str, RestorePoint]:
        """The live points."""
        return {name: standing.point for name, standing in self.standings.items() if standing.live}

    @cached_property
    def trash(self) -> Mapping[str, RestorePoint]:
        """The points that were forgotten and not purged: as alive as any for whoever deletes bytes."""
        return {name: standing.point for name, standing in self.standings.items() if not standing.live}

    @cached_property
    def proven(self) -> frozenset[str]:
        """The points whose last recovery on trial went well."""
        return frozenset(
            name for name, each in self.standings.items() if each.verification is not None and each.verification.ok
        )

    def voids_of(self, number: int) -> list[Void]:
        """What of an entry was void."""
        return [void for void in self.voids if void.number == number]


def fold(state: State, entries: Iterable[Entry]) -> State:
    """The state after these entries, which follow it."""
    folding = _Folding(state)
    for entry in entries:
        folding.take(entry)
    return folding.state()


class _Folding:
    """A state in the making: copies of its parts, changed entry by entry."""

    def __init__(self, state: State) -> None:
        self._before = state
        self._number = state.number
        self._standings = dict(state.standings)
        self._purged = dict(state.purged)
        self._condemned: dict[str, int] = {}
        self._damaged = dict(state.damaged)
        self._keys = state.keys
        self._voids: list[Void] = []
        self._entry = Entry(number=0, at=UNKNOWN_TIME, by="", body=Body())

    def state(self) -> State:
        """What has come out. The condemned are many: without news of them they are not copied."""
        before = self._before
        return State(
            number=self._number,
            standings=self._standings,
            purged=self._purged,
            condemned={**before.condemned, **self._condemned} if self._condemned else before.condemned,
            damaged=self._damaged,
            keys=self._keys,
            voids=(*before.voids, *self._voids),
        )

    def take(self, entry: Entry) -> None:
        """Fold one entry."""
        assert entry.number == self._number + 1
        self._number, self._entry = entry.number, entry
        self._decide(entry.body)

    @singledispatchmethod
    def _decide(self, body: Body) -> None:
        """What a decision of this kind does. Of `create` nothing is left to do."""

    @_decide.register
    def _forged(self, body: Forged) -> None:
        self._voids.append(Void(self._number, body.claimed, None, "not signed with the repository's key"))

    @_decide.register
    def _commit(self, body: Commit) -> None:
        for point in body.points:
            if point.id in self._standings or point.id in self._purged:
                self._void(point.id, "its id was given before")
            else:
                live = replace(point, state="live")
                self._standings[point.id] = Standing(point=live, number=self._number, locked_until=body.locked_until)

    @_decide.register
    def _forget(self, body: Forget) -> None:
        at, by = self._entry.at, self._entry.by
        self._change(body.points, lambda each: each.why_not_forgotten(at), trashed_at=at, trashed_by=by)

    @_decide.register
    def _undelete(self, body: Undelete) -> None:
        self._change(body.points, lambda each: "not in the trash" if each.live else "", trashed_at=None, trashed_by="")

    @_decide.register
    def _purge(self, body: Purge) -> None:
        for name in self._allowed(body.points, lambda each: each.why_not_purged(self._entry.at)):
            del self._standings[name]
            self._purged[name] = self._number

    @_decide.register
    def _pin(self, body: Pin) -> None:
        self._change(body.points, lambda each: "" if each.live else "in the trash", pinned=True)

    @_decide.register
    def _unpin(self, body: Unpin) -> None:
        self._change(body.points, lambda each: "" if each.pinned else "not pinned", pinned=False)

    @_decide.register
    def _hold(self, body: Hold) -> None:
        for name in self._allowed(body.points, _anything):
            holds = self._standings[name].holds
            until = body.until
            if body.hold in holds and until is not None:  # a hold can be made longer, never shorter
                before = holds[body.hold].until
                until = None if before is None else max(before, until)
            hold = Holding(until, body.reason, self._entry.by)
            self._change([name], _anything, holds={**holds, body.hold: hold})

    @_decide.register
    def _release(self, body: Release) -> None:
        wanted = set(body.holds)
        for name in self._allowed(body.points, lambda each: "" if wanted & each.holds.keys() else "no such hold"):
            holds = self._standings[name].holds
            left = {each: hold for each, hold in holds.items() if each not in wanted}
            self._change([name], _anything, holds=left)

    @_decide.register
    def _lock(self, body: Lock) -> None:
        def why_not(each: Standing) -> str:
            return "locked for longer already" if each.locked_until and each.locked_until > body.until else ""

        self._change(body.points, why_not, locked_until=body.until)

    @_decide.register
    def _verified(self, body: Verified) -> None:
        entry = self._entry
        verification = Verification(at=entry.at, by=entry.by, checks=tuple(body.checks), picture=body.picture)
        self._change([body.point], _anything, verification=verification)

    @_decide.register
    def _condemn(self, body: Condemn) -> None:
        for name in body.packs:
            if name not in self._before.condemned:
                self._condemned.setdefault(name, self._number)

    @_decide.register
    def _damage(self, body: Damage) -> None:
        for record in _records(body.records):
            self._damaged.setdefault(record, self._number)

    @_decide.register
    def _repaired(self, body: Repaired) -> None:
        for record in _records(body.records):
            self._damaged.pop(record, None)

    @_decide.register
    def _epoch(self, body: Epoch) -> None:
        if why := self._keys.why_void(body):
            self._void(None, why)
        else:
            self._keys = self._keys.after(body)

    def _change(self, points: Iterable[str], why_not: Callable[[Standing], str], **changes: Any) -> None:
        for name in self._allowed(points, why_not):
            self._standings[name] = replace(self._standings[name], **changes)

    def _allowed(self, points: Iterable[str], why_not: Callable[[Standing], str]) -> list[str]:
        """Those of the points, each once, for which the decision is not void."""
        allowed = []
        for name in dict.fromkeys(points):
            standing = self._standings.get(name)
            if standing is None:
                why = "purged before" if name in self._purged else "no such point"
            else:
                why = why_not(standing)
            if why:
                self._void(name, why)
            else:
                allowed.append(name)
        return allowed

    def _void(self, point: str | None, why: str) -> None:
        self._voids.append(Void(self._number, self._entry.body.kind, point, why))


def _anything(_standing: Standing) -> str:
    return ""


def _records(records: Mapping[str, Iterable[int]]) -> Iterable[PackRecord]:
    return ((pack, number) for pack, numbers in records.items() for number in numbers)
