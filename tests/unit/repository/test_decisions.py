"""What decisions do, one rule a test, over the real log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from holdfast.core.errors import DeniedError, RefusedError
from holdfast.repository import MemoryStorage, State
from holdfast.repository.decisions import (
    Body,
    Commit,
    Condemn,
    Damage,
    Forget,
    Hold,
    Lock,
    Pin,
    Purge,
    Release,
    Repaired,
    Undelete,
    Unpin,
)
from holdfast.repository.keys import Keys, new_keys
from holdfast.repository.log import Log
from holdfast.repository.signing import Signer
from tests.support.decisions import KEYS, PUBLIC_KEY, START, SetClock, a_change_of_keys, a_point, decide, open_log

SOON = START + timedelta(hours=1)
SIGNED: tuple[Body, ...] = (
    Forget(points=["a"]),
    Purge(points=["a"]),
    Unpin(points=["a"]),
    Release(points=["a"], holds=["h"]),
    Condemn(packs=["00" * 32]),
    a_change_of_keys(2, 1),
)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def log(clock: SetClock) -> Log:
    """One live point, `a`."""
    log = open_log(MemoryStorage(), clock)
    decide(log, Commit(points=[a_point("a")]))
    return log


def in_trash(log: Log) -> None:
    assert not decide(log, Forget(points=["a"])).void
    assert list(log.state.trash) == ["a"]


def purged(log: Log) -> None:
    in_trash(log)
    assert not decide(log, Purge(points=["a"])).void
    assert not log.state.standings


def why_void(log: Log, body: Body) -> str:
    """Why a decision about `a` does nothing; it is asserted that it does nothing."""
    before = log.state
    (void,) = decide(log, body).void
    after = log.state
    assert (after.standings, after.purged) == (before.standings, before.purged)
    assert (void.number, void.kind, void.point) == (after.number, body.kind, "a")
    return void.why


# --- void rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "revival",
    [
        Undelete(points=["a"]),
        Hold(points=["a"], hold="h"),
        Lock(points=["a"], until=SOON),
        Pin(points=["a"]),
        Commit(points=[a_point("a")]),
    ],
    ids=lambda body: body.kind,
)
def test_nothing_brings_a_purged_point_back(log: Log, revival: Body) -> None:
    purged(log)
    assert why_void(log, revival)
    assert log.state.purged == {"a": 4}


def test_a_held_point_is_not_purged_and_not_forgotten(log: Log) -> None:
    in_trash(log)
    decide(log, Hold(points=["a"], hold="h"))
    assert why_void(log, Purge(points=["a"])) == "held"
    decide(log, Undelete(points=["a"]))
    assert why_void(log, Forget(points=["a"])) == "held"


def test_a_locked_point_is_not_purged_and_not_forgotten_before_its_time(log: Log, clock: SetClock) -> None:
    in_trash(log)
    decide(log, Lock(points=["a"], until=SOON))
    assert "locked until" in why_void(log, Purge(points=["a"]))
    decide(log, Undelete(points=["a"]))
    assert "locked until" in why_void(log, Forget(points=["a"]))
    clock.now = SOON
    purged(log)


def test_a_point_that_is_not_in_the_trash_is_not_purged(log: Log) -> None:
    assert why_void(log, Purge(points=["a"])) == "not in the trash"


def test_a_pinned_point_is_not_forgotten(log: Log) -> None:
    decide(log, Pin(points=["a"]))
    assert why_void(log, Forget(points=["a"])) == "pinned"
    decide(log, Unpin(points=["a"]))
    in_trash(log)


def test_a_point_in_the_trash_is_not_pinned_and_not_forgotten_again(log: Log) -> None:
    in_trash(log)
    assert why_void(log, Pin(points=["a"])) == "in the trash"
    assert why_void(log, Forget(points=["a"])) == "in the trash already"


def test_what_was_never_there_is_named_as_that(log: Log) -> None:
    (void,) = decide(log, Forget(points=["b", "a", "a"])).void
    assert (void.point, void.why) == ("b", "no such point")
    assert list(log.state.trash) == ["a"]


def test_a_void_purge_stays_void_when_its_obstacle_is_gone(log: Log) -> None:
    in_trash(log)
    decide(log, Hold(points=["a"], hold="h"))
    decide(log, Purge(points=["a"]))
    decide(log, Release(points=["a"], holds=["h"]))
    assert list(log.read().trash) == ["a"]


def test_a_commit_does_not_replace_the_point_that_has_its_id(log: Log) -> None:
    """Else who may only add could let a live point's blocks be collected."""
    assert why_void(log, Commit(points=[a_point("a", machine="forged")])) == "its id was given before"
    assert log.state.points["a"].machine == "web01"


# --- what they do -----------------------------------------------------------------------------------------------------


def test_a_lock_is_made_longer_and_never_shorter(log: Log) -> None:
    decide(log, Lock(points=["a"], until=SOON))
    assert why_void(log, Lock(points=["a"], until=START)) == "locked for longer already"
    decide(log, Lock(points=["a"], until=SOON + timedelta(days=1)))
    assert log.state.standings["a"].locked_until == SOON + timedelta(days=1)


def test_a_hold_is_made_longer_and_never_shorter(log: Log) -> None:
    def until() -> datetime | None:
        return log.state.standings["a"].holds["h"].until

    decide(log, Hold(points=["a"], hold="h", until=SOON))
    decide(log, Hold(points=["a"], hold="h", until=START))
    assert until() == SOON
    decide(log, Hold(points=["a"], hold="h"))
    decide(log, Hold(points=["a"], hold="h", until=SOON))
    assert until() is None


def test_one_of_two_holds_is_enough(log: Log) -> None:
    decide(log, Hold(points=["a"], hold="first"))
    decide(log, Hold(points=["a"], hold="second"))
    decide(log, Release(points=["a"], holds=["first"]))
    assert why_void(log, Forget(points=["a"])) == "held"
    decide(log, Release(points=["a"], holds=["second"]))
    in_trash(log)


def test_a_readers_hold_is_over_by_itself(log: Log, clock: SetClock) -> None:
    decide(log, Hold(points=["a"], hold="h", until=SOON))
    clock.now = SOON - timedelta(seconds=1)
    assert why_void(log, Forget(points=["a"])) == "held"
    clock.now = SOON
    in_trash(log)


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)])
def test_a_clock_that_jumps_a_year_lets_nothing_be_lost_but_what_has_an_end(
    log: Log, clock: SetClock, jump: timedelta
) -> None:
    decide(log, Hold(points=["a"], hold="h"))
    clock.now += jump
    assert why_void(log, Forget(points=["a"])) == "held"


def test_a_clock_that_goes_back_keeps_what_is_locked(log: Log, clock: SetClock) -> None:
    decide(log, Lock(points=["a"], until=SOON))
    clock.now = START - timedelta(days=365)
    assert "locked" in why_void(log, Forget(points=["a"]))


def test_damage_is_marked_with_the_number_of_its_entry_until_it_is_repaired(log: Log) -> None:
    pack = "11" * 32
    decide(log, Damage(records={pack: [0, 3]}))
    decide(log, Damage(records={pack: [3, 4]}))
    assert log.state.damaged == {(pack, 0): 3, (pack, 3): 3, (pack, 4): 4}
    decide(log, Repaired(records={pack: [3]}))
    decide(log, Damage(records={pack: [3]}))
    assert log.state.damaged == {(pack, 0): 3, (pack, 4): 4, (pack, 3): 6}


def test_a_condemned_pack_is_remembered_with_its_first_entry(log: Log) -> None:
    first, second = "00" * 32, "11" * 32
    decide(log, Condemn(packs=[first]))
    decide(log, Condemn(packs=[first, second, second]))
    assert log.state.condemned == {first: 3, second: 4}


def test_a_set_of_keys_follows_the_one_before_it(log: Log) -> None:
    assert not decide(log, a_change_of_keys(2, 1)).void
    assert decide(log, a_change_of_keys(2, 1)).void
    assert decide(log, a_change_of_keys(4, 1)).void
    assert decide(log, a_change_of_keys(3, 3)).void
    assert decide(log, a_change_of_keys(3, 2)).void, "it hands its epoch to nobody"
    assert not decide(log, a_change_of_keys(3, 1)).void
    assert (log.state.keys.generation, log.state.keys.epoch) == (3, 1)


def test_an_entry_says_who_and_when(log: Log, clock: SetClock) -> None:
    clock.now = SOON
    entry = decide(log, Forget(points=["a"])).entry
    assert entry.at == SOON
    assert entry.by.count("@") == 1
    assert log.state.standings["a"].trashed_at == SOON


def test_a_decision_is_made_anew_on_the_state_below_the_number_that_is_tried(log: Log) -> None:
    storage = log._storage
    seen: list[list[str]] = []

    def make(state: State, _now: datetime) -> Body:
        seen.append(list(state.points))
        if len(seen) == 1:
            decide(open_log(storage), Commit(points=[a_point("b")]))
        return Forget(points=list(state.points))

    appended = log.append(make)
    assert seen == [["a"], ["a", "b"]]
    assert list(appended.state.trash) == ["a", "b"]


def test_what_a_decision_raises_leaves_the_log_as_it_was(log: Log) -> None:
    def make(_state: State, _now: datetime) -> Body:
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        log.append(make)
    assert log.read().number == 2


# --- authors and signatures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_it_makes_no_difference_whose_hand_wrote_an_entry(order: tuple[int, ...]) -> None:
    storage = MemoryStorage()
    authors = [open_log(storage) for _ in range(3)]
    decide(authors[order[0]], Commit(points=[a_point("a"), a_point("b")]))
    decide(authors[order[1]], Forget(points=["a"]))
    decide(authors[order[2]], Purge(points=["a"]))
    assert {tuple(author.read().standings) for author in authors} == {("b",)}


def unsigned(body: Body) -> Body:
    """The same decision by a program that does not sign it."""

    class Unsigned(type(body), frozen=True, kw_only=True):  # type: ignore[misc]
        signed = False

    made: Body = Unsigned(**{name: getattr(body, name) for name in body.__struct_fields__})
    return made


@pytest.mark.parametrize("body", SIGNED, ids=lambda body: body.kind)
def test_a_decision_signed_with_another_key_is_void_and_reported(log: Log, body: Body) -> None:
    forger = Log(log._storage, KEYS, Signer(PUBLIC_KEY, new_keys(bytes(16)).signing_seed))
    require_void(log, forger, body)


@pytest.mark.parametrize("body", SIGNED, ids=lambda body: body.kind)
def test_a_decision_without_a_signature_is_void_and_reported(log: Log, body: Body) -> None:
    require_void(log, open_log(log._storage), unsigned(body))


def require_void(log: Log, forger: Log, body: Body) -> None:
    if body.kind == "purge":
        decide(log, Forget(points=["a"]))
    decide(log, Pin(points=["a"]))
    decide(log, Hold(points=["a"], hold="h"))
    before = log.state
    decide(forger, body)
    for reader in (log, open_log(log._storage)):
        after = reader.read()
        assert replace(after, number=before.number, voids=()) == replace(before, voids=())
        (void,) = after.voids_of(after.number)
        assert (void.kind, void.point, void.why) == (body.kind, None, "not signed with the repository's key")


def test_a_genuine_signature_does_not_serve_for_another_entry_that_says_the_same(log: Log) -> None:
    """The signed text binds the entry's line, hence its number and the hash of the entry before."""
    seen: list[bytes] = []

    class Recording(Signer):
        def sign(self, message: bytes) -> bytes:
            seen.append(super().sign(message))
            return seen[0]

    log.signer = Recording(PUBLIC_KEY, KEYS.signing_seed)
    decide(log, Forget(points=["a"]))
    assert list(log.state.trash) == ["a"]
    decide(log, Undelete(points=["a"]))
    decide(log, Forget(points=["a"]))
    assert seen[0] != seen[1]
    assert list(log.state.points) == ["a"]
    assert [void.kind for void in log.state.voids] == ["forget"]


@pytest.mark.parametrize("body", SIGNED, ids=lambda body: body.kind)
def test_without_the_signing_key_nothing_signed_is_written(log: Log, body: Body) -> None:
    mover = open_log(log._storage, keys=without_seed(KEYS))
    with pytest.raises(DeniedError) as caught:
        decide(mover, body)
    assert caught.value.code == "no-signing-key"
    assert log.read().number == 2


def test_without_the_signing_key_all_else_is_written_and_signatures_are_verified(log: Log) -> None:
    mover = open_log(log._storage, keys=without_seed(KEYS))
    decide(mover, Hold(points=["a"], hold="h", until=START + timedelta(days=1)))
    decide(mover, Commit(points=[a_point("b")]))
    decide(log, Forget(points=["b"]))
    assert list(mover.read().trash) == ["b"]


def without_seed(keys: Keys) -> Keys:
    return Keys(keys.repository_id, keys.content_secret, keys.epoch_keys, signing_seed=None)


def test_a_point_shows_the_state_that_it_is_in(log: Log) -> None:
    def shown(now: datetime) -> str:
        return log.state.standings["a"].seen_at(now).state

    assert shown(START) == "live"
    decide(log, Hold(points=["a"], hold="h", until=SOON))
    assert (shown(START), shown(SOON)) == ("held", "live")
    decide(log, Release(points=["a"], holds=["h"]))
    in_trash(log)
    assert shown(datetime.max.replace(tzinfo=UTC)) == "trash"
