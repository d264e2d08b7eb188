"""The fold of decisions does what a model of a few lines does, whoever decides and however the log is read."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.repository import MemoryStorage
from holdfast.repository import decisions as d
from holdfast.repository.decisions import Body, Entry
from holdfast.repository.keys import Holder, Keys
from holdfast.repository.keyset import KeySet
from holdfast.repository.known_log import KnownLog, KnownLogFile
from holdfast.repository.state import State, fold
from tests.support.decisions import PUBLIC_KEY, START, SetClock, a_change_of_keys, a_point, decide, open_log

POINTS = ("a", "b", "c")
PACKS = ("00" * 32, "11" * 32)
TIMES = st.integers(-3, 12).map(lambda hours: START + timedelta(hours=hours))
SOME = st.lists(st.sampled_from([*POINTS, "never"]), min_size=1, max_size=3)
HOLDS = st.sampled_from(["h1", "h2"])
RECORDS = st.dictionaries(st.sampled_from(PACKS), st.lists(st.integers(0, 2), max_size=2), max_size=2)


DECISIONS = st.one_of(
    st.builds(d.Commit, points=st.lists(st.sampled_from(POINTS).map(a_point), min_size=1, max_size=2)),
    st.builds(d.Commit, points=st.lists(st.sampled_from(POINTS).map(a_point), min_size=1, max_size=2)),
    st.builds(d.Forget, points=SOME),
    st.builds(d.Forget, points=SOME),
    st.builds(d.Undelete, points=SOME),
    st.builds(d.Purge, points=SOME),
    st.builds(d.Pin, points=SOME),
    st.builds(d.Unpin, points=SOME),
    st.builds(d.Hold, points=SOME, hold=HOLDS, until=st.none() | TIMES),
    st.builds(d.Release, points=SOME, holds=st.lists(HOLDS, max_size=2)),
    st.builds(d.Lock, points=SOME, until=TIMES),
    st.builds(d.Condemn, packs=st.lists(st.sampled_from(PACKS), max_size=2)),
    st.builds(d.Damage, records=RECORDS),
    st.builds(d.Repaired, records=RECORDS),
    st.builds(a_change_of_keys, st.integers(1, 4), st.sampled_from([1, 1, 3])),
    st.builds(d.Forged, claimed=st.sampled_from(["purge", "condemn"])),
)
HISTORIES = st.lists(st.tuples(TIMES, DECISIONS), max_size=40)


@dataclass
class Model:
    """What the page says, in the plainest words."""

    where: dict[str, str] = field(default_factory=dict)  # point -> live, trash or purged
    pinned: set[str] = field(default_factory=set)
    holds: dict[tuple[str, str], datetime | None] = field(default_factory=dict)
    locks: dict[str, datetime] = field(default_factory=dict)
    condemned: set[str] = field(default_factory=set)
    damaged: set[tuple[str, int]] = field(default_factory=set)
    keys: int = 1  # generation

    def take(self, at: datetime, body: Body) -> None:
        match body:
            case d.Commit():
                for point in body.points:
                    self.where.setdefault(point.id, "live")
            case d.Condemn():
                self.condemned |= set(body.packs)
            case d.Damage():
                self.damaged |= self.records(body.records)
            case d.Repaired():
                self.damaged -= self.records(body.records)
            case d.Epoch():
                self.keys += body.generation == self.keys + 1 and body.epoch == 1
            case d.Forged():
                pass
            case _:
                for point in getattr(body, "points", []):
                    if self.where.get(point, "purged") != "purged":
                        self.decide(at, point, body)

    def decide(self, at: datetime, point: str, body: Body) -> None:
        kept = self.locks.get(point, at) > at or any(
            until is None or until > at for (held, _), until in self.holds.items() if held == point
        )
        live = self.where[point] == "live"
        match body:
            case d.Forget() if live and not kept and point not in self.pinned:
                self.where[point] = "trash"
            case d.Undelete():
                self.where[point] = "live"
            case d.Purge() if not live and not kept:
                self.where[point] = "purged"
            case d.Pin() if live:
                self.pinned.add(point)
            case d.Unpin():
                self.pinned.discard(point)
            case d.Hold():
                both = (self.holds.get((point, body.hold), body.until), body.until)
                self.holds[point, body.hold] = None if None in both else max(each for each in both if each)
            case d.Release():
                for name in body.holds:
                    self.holds.pop((point, name), None)
            case d.Lock():
                self.locks[point] = max(self.locks.get(point, body.until), body.until)

    @staticmethod
    def records(records: dict[str, list[int]]) -> set[tuple[str, int]]:
        return {(pack, number) for pack, numbers in records.items() for number in numbers}

    def summary(self) -> dict[str, Any]:
        standing = [point for point, where in self.where.items() if where != "purged"]
        return {
            "live": [point for point in standing if self.where[point] == "live"],
            "trash": [point for point in standing if self.where[point] == "trash"],
            "purged": {point for point, where in self.where.items() if where == "purged"},
            "pinned": self.pinned & set(standing),
            "holds": {key: until for key, until in self.holds.items() if key[0] in standing},
            "locks": {point: until for point, until in self.locks.items() if point in standing},
            "condemned": self.condemned,
            "damaged": self.damaged,
            "keys": self.keys,
        }


def summary(state: State) -> dict[str, Any]:
    standings = state.standings
    return {
        "live": list(state.points),
        "trash": list(state.trash),
        "purged": set(state.purged),
        "pinned": {name for name, each in standings.items() if each.pinned},
        "holds": {(name, hold): held.until for name, each in standings.items() for hold, held in each.holds.items()},
        "locks": {name: each.locked_until for name, each in standings.items() if each.locked_until},
        "condemned": set(state.condemned),
        "damaged": set(state.damaged),
        "keys": state.keys.generation,
    }


def entries_of(history: list[tuple[datetime, Body]]) -> list[Entry]:
    return [Entry(number=number, at=at, by="", body=body) for number, (at, body) in enumerate(history, 1)]


@given(history=HISTORIES)
@settings(max_examples=300)
def test_the_fold_does_what_the_model_does_at_every_step(history: list[tuple[datetime, Body]]) -> None:
    model, state = Model(), State(keys=KeySet(signing_key=PUBLIC_KEY))
    for entry in entries_of(history):
        model.take(entry.at, entry.body)
        state = fold(state, [entry])
        assert summary(state) == model.summary()


@given(history=HISTORIES, data=st.data())
def test_it_makes_no_difference_in_how_many_steps_a_log_is_folded(
    history: list[tuple[datetime, Body]], data: st.DataObject
) -> None:
    entries = entries_of(history)
    cut = data.draw(st.integers(0, len(entries)))
    assert fold(fold(State(), entries[:cut]), entries[cut:]) == fold(State(), entries)


@given(history=HISTORIES, later=HISTORIES)
def test_void_stays_void_and_purged_stays_purged(
    history: list[tuple[datetime, Body]], later: list[tuple[datetime, Body]]
) -> None:
    entries = entries_of([*history, *later])
    before, after = fold(State(), entries[: len(history)]), fold(State(), entries)
    assert after.voids[: len(before.voids)] == before.voids
    assert before.purged.items() <= after.purged.items()
    assert before.condemned.items() <= after.condemned.items()
    assert not after.purged.keys() & after.standings.keys()


@given(history=HISTORIES)
def test_a_state_that_somebody_holds_never_changes(history: list[tuple[datetime, Body]]) -> None:
    entries = entries_of(history)
    half = fold(State(), entries[: len(entries) // 2])
    before = summary(half), half.voids
    fold(half, entries[len(entries) // 2 :])
    assert (summary(half), half.voids) == before


@given(history=HISTORIES, data=st.data())
@settings(max_examples=40)
def test_whoever_decides_everybody_reads_the_same(history: list[tuple[datetime, Body]], data: st.DataObject) -> None:
    """Three programs on one storage, each decision by any of them."""
    storage, clock, model = MemoryStorage(), SetClock(), Model()
    logs = [open_log(storage, clock) for _ in range(3)]
    for at, body in history:
        if isinstance(body, d.Forged):
            continue
        clock.now = at
        author = data.draw(st.sampled_from(logs))
        appended = decide(author, body)
        model.take(at, body)
        assert summary(appended.state) == model.summary()
    for reader in (*logs, open_log(storage)):
        assert summary(reader.read()) == model.summary()


@given(HISTORIES)
def test_a_state_that_was_kept_is_the_state_that_was_folded(history: list[tuple[datetime, Body]]) -> None:
    state = fold(State(keys=KeySet(signing_key=PUBLIC_KEY)), entries_of(history))
    holder = Holder(number=1, generation=1, kind="passphrase", private_key=X25519PrivateKey.generate())
    keys = Keys(bytes(16), b"", {1: b""}, None, holder)
    known = KnownLog(state=state, hashes=["ab" * 32] * (len(history) + 1), epochs={2: 7})
    with TemporaryDirectory() as directory:
        file = KnownLogFile(Path(directory), keys)
        file.save(known)
        assert file.load() == known
