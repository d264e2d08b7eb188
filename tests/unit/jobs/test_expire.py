"""Deleting by rules and by hand: judged on the newest state, refused where it would be void, no more than planned."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from holdfast.core.errors import ConflictError, DeniedError, NotFoundError, RefusedError
from holdfast.core.retention import Rule
from holdfast.jobs import decide
from holdfast.jobs.expire import empty_trash, expire, plan_expiry, plan_trash
from holdfast.repository import Repository
from holdfast.repository.decisions import Commit, Hold
from holdfast.repository.signing import Signer
from tests.support.decisions import START, SetClock, a_point
from tests.support.decisions import decide as put
from tests.support.repositories import new_repository, reopened

WEEK = timedelta(days=7)
ONE = Rule(last=1)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(START + timedelta(days=100))


@pytest.fixture
def repository(clock: SetClock) -> Repository:
    """Points `a`, `b` and `c` of web01, captured on three days, `d` of db01."""
    repository = new_repository()
    repository.log.clock = clock
    for day, (name, machine) in enumerate([("a", "web01"), ("b", "web01"), ("c", "web01"), ("d", "db01")]):
        put(repository.log, Commit(points=[a_point(name, machine=machine, captured_at=START + timedelta(days=day))]))
    return repository


def live(repository: Repository) -> list[str]:
    return [point.id for point in reopened(repository).points()]


def trash(repository: Repository) -> list[str]:
    return [point.id for point in reopened(repository).trash()]


def test_a_plan_is_carried_out_as_one_decision(repository: Repository) -> None:
    plan = plan_expiry(repository, ONE)
    before = repository.state().number
    assert [point.id for point in expire(repository, plan, ONE)] == ["a", "b"]
    assert (live(repository), trash(repository)) == (["c", "d"], ["a", "b"])
    assert repository.state().number == before + 1


def test_a_plan_that_drops_nothing_writes_nothing(repository: Repository) -> None:
    before = repository.state().number
    assert expire(repository, plan_expiry(repository, Rule(last=3)), Rule(last=3)) == []
    assert repository.state().number == before


@pytest.mark.parametrize("protect", [decide.pin_points, decide.hold_points])
def test_what_was_protected_since_the_plan_stays(
    repository: Repository, protect: Callable[[Repository, list[str]], None]
) -> None:
    plan = plan_expiry(repository, ONE)
    protect(reopened(repository), ["a"])
    assert [point.id for point in expire(repository, plan, ONE)] == ["b"]
    assert trash(repository) == ["b"]


def test_what_was_not_in_the_plan_stays_although_the_rule_would_drop_it_by_now(repository: Repository) -> None:
    plan = plan_expiry(repository, ONE)
    put(repository.log, Commit(points=[a_point("e", captured_at=START + timedelta(days=9))]))
    assert [point.id for point in expire(repository, plan, ONE)] == ["a", "b"]
    assert live(repository) == ["c", "d", "e"]


def test_a_plan_that_has_nothing_left_to_do_is_a_conflict(repository: Repository) -> None:
    plan = plan_expiry(repository, ONE)
    expire(repository, plan, ONE)
    with pytest.raises(ConflictError):
        expire(repository, plan, ONE)


def test_only_the_machines_that_were_named_are_judged(repository: Repository) -> None:
    plan = plan_expiry(repository, Rule(minimum_age=WEEK, at_least=0), {"id of db01"})
    assert [point.id for point in plan.dropped] == ["d"]


def test_the_trash_is_emptied_of_what_has_been_there_long_enough(repository: Repository, clock: SetClock) -> None:
    decide.delete_points(repository, ["a"])
    clock.advance(days=3)
    decide.delete_points(repository, ["b"])
    clock.advance(days=5)
    plan = plan_trash(repository, WEEK)
    assert [point.id for point in empty_trash(repository, plan, WEEK)] == ["a"]
    assert trash(repository) == ["b"]
    assert set(reopened(repository).state().purged) == {"a"}


def test_what_came_back_from_the_trash_or_is_held_by_now_is_not_purged(repository: Repository, clock: SetClock) -> None:
    decide.delete_points(repository, ["a", "b", "c"])
    clock.advance(days=8)
    plan = plan_trash(repository, WEEK)
    decide.undelete_points(reopened(repository), ["a"])
    decide.hold_points(reopened(repository), ["b"])
    assert [point.id for point in empty_trash(repository, plan, WEEK)] == ["c"]


@pytest.mark.parametrize("jump", [timedelta(days=-365), timedelta(seconds=-1)])
def test_a_clock_that_went_back_purges_nothing(repository: Repository, clock: SetClock, jump: timedelta) -> None:
    decide.delete_points(repository, ["a"])
    clock.now += jump
    assert [verdict.stays for verdict in plan_trash(repository, timedelta())] == ["not long enough in the trash"]


def test_one_point_that_may_not_be_deleted_keeps_all(repository: Repository) -> None:
    decide.pin_points(repository, ["b"])
    before = repository.state().number
    with pytest.raises(RefusedError, match="point b of web01 is pinned") as caught:
        decide.delete_points(repository, ["a", "b"])
    assert caught.value.hint
    assert repository.state().number == before


def test_a_readers_hold_is_not_released_by_a_person(repository: Repository, clock: SetClock) -> None:
    put(repository.log, Hold(points=["a"], hold="reader", until=clock.now + WEEK))
    with pytest.raises(RefusedError, match="not held"):
        decide.release_points(repository, ["a"])
    decide.hold_points(repository, ["a"], "case 1")
    decide.hold_points(repository, ["a"], "case 2")
    decide.release_points(repository, ["a"])
    assert list(repository.state().standings["a"].holds) == ["reader"]


def test_what_was_purged_meanwhile_is_named(repository: Repository) -> None:
    decide.delete_points(repository, ["a"])
    decide.purge_points(reopened(repository), ["a"])
    with pytest.raises(NotFoundError, match="purged meanwhile"):
        decide.undelete_points(repository, ["a"])


def test_who_cannot_sign_deletes_nothing_and_is_told_so(repository: Repository, clock: SetClock) -> None:
    repository.log.signer = Signer(repository.config.signing_key, None)
    plan = plan_expiry(repository, ONE)
    with pytest.raises(DeniedError, match="signing key"):
        expire(repository, plan, ONE)
    decide.lock_points(repository, ["a"], clock.now + WEEK)
    decide.hold_points(repository, ["b"])
    assert live(repository) == ["a", "b", "c", "d"]
