"""A point that is being read is held: nobody purges it under its reader, and no reader's death keeps it for ever."""

import time
from datetime import timedelta
from uuid import UUID

import pytest

from holdfast.core.errors import NotFoundError, RefusedError
from holdfast.core.point import RestorePoint
from holdfast.jobs.decide import delete_points, evict_tenants, hold_points, purge_points, release_points
from holdfast.jobs.hold import all_held, held, kept, reason_of_tenant, require_not_purged, tenants_hold
from holdfast.repository import Repository
from holdfast.repository.decisions import Commit, Forget, Purge
from holdfast.repository.signing import Signer
from holdfast.repository.state import Holding
from holdfast.repository.storage.memory import MemoryStorage
from tests.support.decisions import SetClock, a_point, decide
from tests.support.repositories import new_repository, reopened
from tests.support.storage import FaultyStorage, failing
from tests.unit.jobs.memory import Watcher


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


@pytest.fixture
def repository(clock: SetClock, storage: FaultyStorage) -> Repository:
    repository = new_repository(storage)
    repository.log.clock = clock
    decide(repository.log, Commit(points=[a_point("a")]))
    return repository


@pytest.fixture
def point(repository: Repository) -> RestorePoint:
    return repository.points()[0]


def is_purged_now(repository: Repository, clock: SetClock) -> bool:
    """Whether somebody else, who wants to purge the point right now, can."""
    other = reopened(repository)
    other.log.clock = clock
    decide(other.log, Forget(points=["a"]))
    decide(other.log, Purge(points=["a"]))
    return "a" in other.state().purged


def test_a_point_is_not_purged_while_it_is_read(repository: Repository, point: RestorePoint, clock: SetClock) -> None:
    with held(repository, point, Watcher()):
        assert repository.points()[0].state == "held"
        assert not is_purged_now(repository, clock)
    assert repository.points()[0].state == "live"
    assert is_purged_now(repository, clock)


def test_a_point_in_the_trash_is_held_as_well(repository: Repository, point: RestorePoint, clock: SetClock) -> None:
    delete_points(repository, ["a"])
    with held(repository, point, Watcher()):
        assert not is_purged_now(repository, clock)


def test_a_reader_that_fails_gives_its_hold_back(repository: Repository, point: RestorePoint, clock: SetClock) -> None:
    with pytest.raises(ZeroDivisionError), held(repository, point, Watcher()):
        raise ZeroDivisionError
    assert is_purged_now(repository, clock)


def test_the_hold_of_a_reader_that_died_ends_by_itself(
    repository: Repository, point: RestorePoint, clock: SetClock
) -> None:
    """As does the hold of one that may not release it, since that is signed."""
    repository.log.signer = Signer(repository.config.signing_key, None)
    with held(repository, point, Watcher()):
        pass
    assert not is_purged_now(repository, clock)
    clock.advance(days=7)
    assert is_purged_now(repository, clock)


def test_a_point_that_was_purged_is_not_read(repository: Repository, point: RestorePoint) -> None:
    delete_points(repository, ["a"])
    purge_points(repository, ["a"])
    with pytest.raises(NotFoundError, match="purged meanwhile"), held(repository, point, Watcher()):
        pytest.fail("read")


def test_where_nothing_can_be_written_a_point_is_read_and_it_is_told(
    repository: Repository, storage: FaultyStorage, point: RestorePoint
) -> None:
    before = repository.state().number
    watcher = Watcher()
    with storage.at_every_put("log/", failing), held(repository, point, watcher):
        assert "without holding it" in watcher.steps[-1]
    assert repository.state().number == before


def test_several_points_are_held_by_one_entry_and_released_by_another(repository: Repository) -> None:
    decide(repository.log, Commit(points=[a_point("b")]))
    before = repository.state().number
    with all_held(repository, repository.points(), Watcher()):
        assert repository.state().number == before + 1
        assert all(standing.holds for standing in repository.state().standings.values())
    assert repository.state().number == before + 2
    assert not any(standing.holds for standing in repository.state().standings.values())


def test_one_that_was_purged_does_not_keep_the_others_from_being_held(repository: Repository) -> None:
    decide(repository.log, Commit(points=[a_point("b")]))
    gone, kept = repository.points()
    delete_points(repository, [gone.id])
    purge_points(repository, [gone.id])
    with all_held(repository, [gone, kept], Watcher()):
        assert repository.state().standings[kept.id].holds
        require_not_purged(repository, kept)
        with pytest.raises(NotFoundError, match="purged meanwhile"):
            require_not_purged(repository, gone)
    assert not repository.state().standings[kept.id].holds
    assert not repository.state().voids


def test_to_hold_nothing_is_no_decision(repository: Repository) -> None:
    before = repository.state().number
    with all_held(repository, [], Watcher()):
        assert repository.state().number == before


def test_a_hold_is_made_longer_while_it_is_needed(
    repository: Repository, point: RestorePoint, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.jobs.hold._RENEWAL", timedelta(milliseconds=10))
    with held(repository, point, Watcher()):
        clock.advance(days=6)
        until = next(iter(holds_of(repository))).until
        deadline = time.monotonic() + 30
        while next(iter(holds_of(repository))).until == until and time.monotonic() < deadline:
            time.sleep(0.01)
        clock.advance(days=6)
        assert repository.points()[0].state == "held"
    assert repository.points()[0].state == "live"


def holds_of(repository: Repository) -> list[Holding]:
    return list(repository.state().standings["a"].holds.values())


def test_what_a_machine_runs_from_is_held_until_that_is_over_whatever_becomes_of_who_serves_it(
    repository: Repository, point: RestorePoint, clock: SetClock
) -> None:
    is_over = False
    for _ in range(3):  # servers come and go
        with kept(reopened(repository), point, "ab" * 8, "web runs from it", lambda: is_over, Watcher()):
            clock.now += timedelta(days=30)
        assert not is_purged_now(repository, clock)
    (hold,) = repository.state().standings["a"].holds.items()
    assert hold == ("ab" * 8, Holding(until=None, reason="web runs from it", by=hold[1].by))
    is_over = True
    with kept(repository, point, "ab" * 8, "web runs from it", lambda: is_over, Watcher()):
        pass
    assert is_purged_now(repository, clock)


def test_who_wants_to_delete_what_is_in_use_is_told_how_each_use_ends_and_never_to_release_it_under_a_machine(
    repository: Repository, point: RestorePoint
) -> None:
    def hint() -> str:
        with pytest.raises(RefusedError, match="is held") as refused:
            delete_points(repository, ["a"])
        return refused.value.hint

    with kept(repository, point, tenants_hold(UUID(int=7)), reason_of_tenant("web"), lambda: True, Watcher()):
        assert hint() == "web runs from it: holdfast mount finalize web, or holdfast mount remove web"
        with held(repository, point, Watcher()):
            assert "holdfast mount remove web; it is being read" in hint()
            assert "--release" not in hint()
    hold_points(repository, ["a"], "case-4711")
    assert hint().startswith("holdfast point hold --release")


def test_what_a_machine_runs_from_is_released_only_by_who_says_that_it_is_gone(
    repository: Repository, point: RestorePoint
) -> None:
    with kept(repository, point, tenants_hold(UUID(int=7)), reason_of_tenant("web"), lambda: False, Watcher()):
        with pytest.raises(RefusedError, match="held by a machine that runs from it") as refused:
            release_points(repository, ["a"])
        assert "holdfast mount remove web" in refused.value.hint
        hold_points(repository, ["a"], "case-4711")
        release_points(repository, ["a"])
        assert [hold.reason for hold in holds_of(repository)] == ["web runs from it"]
        evict_tenants(repository, ["a"])
        assert not holds_of(repository)
    with pytest.raises(RefusedError, match="not held"):
        evict_tenants(repository, ["a"])


def test_a_point_that_cannot_be_held_is_served_with_a_warning(
    repository: Repository, point: RestorePoint, storage: FaultyStorage
) -> None:
    watcher = Watcher()
    keeping = kept(repository, point, "ab" * 8, "web runs from it", lambda: False, watcher)
    with storage.at_every_put("log/", failing), keeping:
        assert repository.points()[0].state == "live"
    assert "is not held" in watcher.warnings[0]
