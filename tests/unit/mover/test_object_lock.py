"""On a store that locks, what a locked point needs is locked before anybody is told so, and nothing undoes it."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs import decide
from holdfast.mover import Care
from holdfast.repository import Repository, open_for_rebuild, open_repository
from holdfast.repository.known_locks import end_of_period
from holdfast.repository.log_entry import entry_name
from holdfast.repository.storage.port import StorageError
from tests.support.collections import collect, forget, plan_of, purge
from tests.support.decisions import SetClock
from tests.support.disks import changed, whole
from tests.support.repositories import (
    PASSPHRASE,
    SMALL_CUT,
    back_up_disks,
    check,
    new_repository,
    reopened,
    restored,
)
from tests.support.versions import VersionedStorage, destroy

DAYS = timedelta(days=1)
LOCKED = Care(lock_for=30 * DAYS)


def content(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


OLD = content(1)
NEW = OLD[:100_000] + content(2, 70_000) + OLD[170_000:]
HALF = b"".join(OLD[at : at + 32_768] for at in range(0, len(OLD), 65_536))


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 50_000)


@pytest.fixture
def storage() -> VersionedStorage:
    return VersionedStorage()


@pytest.fixture
def repository(storage: VersionedStorage) -> Repository:
    return new_repository(storage, SMALL_CUT)


def lock_points(repository: Repository, *points: RestorePoint, days: int = 30) -> None:
    decide.lock_points(repository, [point.id for point in points], datetime.now(UTC) + days * DAYS)


def require_survives(storage: VersionedStorage, points: dict[RestorePoint, bytes]) -> None:
    """After a thief with every right to the bucket has done his worst, each of these points comes back exactly."""
    destroy(storage)
    rebuild = open_for_rebuild(storage, PASSPHRASE, Silence())
    rebuild.carry_out(rebuild.plan())
    survivor = open_repository(storage, PASSPHRASE)
    for point, expected in points.items():
        assert restored(survivor, point) == expected


def require_locked_packs_stand(repository: Repository, storage: VersionedStorage) -> None:
    """No entry takes a locked pack from the points that need it."""
    for pack in reopened(repository).state().condemned:
        for kept in storage.shelf.versions.get(f"packs/{pack[:2]}/{pack}", []):
            assert not storage.shelf.is_locked(kept.id)


# --- what a lock covers -----------------------------------------------------------------------------------------------


def test_a_locked_point_survives_a_thief_and_an_unlocked_one_does_not(
    repository: Repository, storage: VersionedStorage
) -> None:
    kept = back_up_disks(repository, [whole(OLD)]).point
    lost = back_up_disks(repository, [whole(content(3))], machine="other").point
    lock_points(repository, kept)
    require_survives(storage, {kept: OLD})
    with pytest.raises(HoldfastError):
        restored(open_repository(storage, PASSPHRASE), lost)


def test_a_point_is_locked_from_its_commit_on_with_all_that_it_takes_over(
    repository: Repository, storage: VersionedStorage
) -> None:
    """Its parent's subtrees were neither read nor looked up; blocks of another machine were only met in the index."""
    back_up_disks(repository, [whole(content(3))], machine="other")
    parent = back_up_disks(repository, [whole(OLD)]).point
    new = NEW[:200_000] + content(3)[:60_000] + NEW[260_000:]
    outcome = back_up_disks(reopened(repository), [changed(new, OLD)], parent=parent, care=LOCKED)
    assert outcome.locked_until is not None
    assert reopened(repository).state().standings[outcome.point.id].locked_until == outcome.locked_until
    require_survives(storage, {outcome.point: new})


def test_a_chain_of_locked_increments_survives_whole(repository: Repository, storage: VersionedStorage) -> None:
    disks = [OLD]
    points = [back_up_disks(repository, [whole(OLD)], care=LOCKED).point]
    for seed in range(10, 15):
        at = seed * 17_000
        disks.append(disks[-1][:at] + content(seed, 9_000) + disks[-1][at + 9_000 :])
        points.append(back_up_disks(repository, [changed(disks[-1], disks[-2])], parent=points[-1], care=LOCKED).point)
    require_survives(storage, dict(zip(points, disks, strict=True)))


def test_locks_end_at_the_beginning_of_a_month(repository: Repository, storage: VersionedStorage) -> None:
    outcome = back_up_disks(repository, [whole(OLD)], care=LOCKED)
    assert outcome.locked_until is not None
    assert set(storage.shelf.until.values()) == {end_of_period(outcome.locked_until)}


def test_every_object_but_the_index_is_locked_with_its_first_point(
    repository: Repository, storage: VersionedStorage
) -> None:
    back_up_disks(repository, [whole(OLD)], care=LOCKED)
    unlocked = {name for name, kept in storage.shelf.versions.items() if kept[0].id not in storage.shelf.until}
    assert unlocked
    assert all(name.startswith("index/") for name in unlocked)


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_an_increment_of_the_same_month_locks_only_what_is_new(
    storage: VersionedStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_repository(storage, SMALL_CUT)
    first = back_up_disks(open_repository(storage, PASSPHRASE, tmp_path), [whole(OLD)], care=LOCKED).point
    before = set(storage.shelf.versions)
    storage.object_lock.locked.clear()
    monkeypatch.setattr("holdfast.repository.locking.Marking", None)  # no tree is walked
    back_up_disks(open_repository(storage, PASSPHRASE, tmp_path), [changed(NEW, OLD)], parent=first, care=LOCKED)
    assert set(storage.object_lock.locked).isdisjoint(before)
    assert len(storage.object_lock.locked) == len(set(storage.object_lock.locked))


def test_a_longer_lock_walks_the_tree_once(
    storage: VersionedStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_repository(storage, SMALL_CUT)
    first = back_up_disks(open_repository(storage, PASSPHRASE, tmp_path), [whole(OLD)], care=LOCKED).point
    longer = Care(lock_for=80 * DAYS)
    second = back_up_disks(
        open_repository(storage, PASSPHRASE, tmp_path), [changed(NEW, OLD)], parent=first, care=longer
    ).point
    monkeypatch.setattr("holdfast.repository.locking.Marking", None)
    newest = NEW[:-5_000] + content(9, 5_000)
    third = back_up_disks(
        open_repository(storage, PASSPHRASE, tmp_path), [changed(newest, NEW)], parent=second, care=longer
    )
    packs = [kept[0].id for name, kept in storage.shelf.versions.items() if name.startswith("packs/")]
    assert third.locked_until is not None
    ends = [storage.shelf.until[version] for version in packs]
    assert max(ends) == end_of_period(third.locked_until)
    require_survives(storage, {third.point: newest})


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_lock_that_fails_half_way_fails_the_backup(repository: Repository, storage: VersionedStorage) -> None:
    storage.object_lock.failures = [None, None, DeniedError("expired", code="credentials-expired")]
    with pytest.raises(DeniedError, match="expired"):
        back_up_disks(repository, [whole(OLD)], care=LOCKED)
    assert not storage.object_lock.failures
    assert reopened(repository).points() == []
    assert back_up_disks(repository, [whole(OLD)], care=LOCKED).locked_until is not None


@pytest.mark.parametrize("number", range(1, 12))
def test_wherever_a_lock_fails_no_point_is_called_locked_that_is_not(number: int, storage: VersionedStorage) -> None:
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(OLD)]).point
    storage.object_lock.failures = [None] * (number - 1) + [StorageError("time-out")]
    with pytest.raises(StorageError, match="time-out"):
        lock_points(repository, point)
    storage.object_lock.failures.clear()
    lock_points(reopened(repository), point)
    require_survives(storage, {point: OLD})


def test_a_commit_whose_entry_cannot_be_locked_is_said_not_to_be_locked(
    repository: Repository, storage: VersionedStorage
) -> None:
    first = back_up_disks(repository, [whole(OLD)], care=LOCKED).point
    commit = entry_name(repository.log.state.number + 1)

    def fail(name: str) -> None:
        if name == commit:
            raise StorageError("time-out")

    storage.object_lock.before_lock = fail
    told = Told()
    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=first, care=LOCKED, progress=told)
    assert outcome.locked_until is None
    (warning,) = told.warnings
    assert f"holdfast point lock {outcome.point.id}" in warning
    storage.object_lock.before_lock = lambda _name: None
    lock_points(repository, outcome.point)
    require_survives(storage, {outcome.point: NEW, first: OLD})


@pytest.mark.parametrize("days", [-365, 365])
def test_nothing_is_locked_by_a_clock_that_is_wrong(days: int, storage: VersionedStorage) -> None:
    repository = new_repository(storage, SMALL_CUT)
    repository.log.clock = SetClock(datetime.now(UTC) + days * DAYS)
    with pytest.raises(DeniedError, match="it is") as refused:
        back_up_disks(repository, [whole(OLD)], care=LOCKED)
    assert refused.value.code == "clock-skewed"
    assert not storage.shelf.until
    assert reopened(repository).points() == []


def test_a_store_without_locks_is_told_of_and_the_log_holds_the_lock() -> None:
    storage = VersionedStorage(locks=False)
    repository = new_repository(storage, SMALL_CUT)
    told = Told()
    outcome = back_up_disks(repository, [whole(OLD)], care=LOCKED, progress=told)
    assert "locks nothing itself" in told.warnings[0]
    assert repository.info().locks == "log"
    assert not storage.object_lock.locked
    forget(repository, outcome.point)
    assert outcome.point.id in repository.state().points


def test_info_says_that_the_store_locks(repository: Repository) -> None:
    assert repository.info().locks == "store"


# --- beside collections -----------------------------------------------------------------------------------------------


def test_locked_packs_are_neither_condemned_nor_rewritten_until_their_locks_are_over(
    repository: Repository, storage: VersionedStorage
) -> None:
    gone = back_up_disks(repository, [whole(OLD)]).point
    kept = back_up_disks(repository, [whole(HALF)], machine="other").point
    lock_points(repository, kept)
    purge(repository, gone)
    plan = plan_of(repository)
    assert plan.locked
    report = collect(repository)
    assert report.locked_packs == len(plan.locked)
    assert report.locked_bytes > 0
    assert not report.warnings
    locked = {kept[0].id for name, kept in storage.shelf.versions.items() if name.startswith("packs/")}
    assert locked <= storage.shelf.until.keys()
    assert check(repository).ok
    later = datetime.now(UTC) + 70 * DAYS
    storage.shelf.now = lambda: later
    again = collect(repository)
    assert again.locked_packs == 0
    assert again.freed_bytes > 100_000
    assert restored(reopened(repository), kept) == HALF


def test_a_collection_beside_a_backup_that_has_locked_its_packs_leaves_them(
    repository: Repository, storage: VersionedStorage
) -> None:
    reports = []
    outcome = back_up_disks(
        repository, [whole(NEW)], care=LOCKED, at_confirm=lambda: reports.append(collect(repository))
    )
    assert not reports[0].condemned_packs
    require_survives(storage, {outcome.point: NEW})


def test_a_pack_that_is_locked_after_the_plan_and_before_the_entry_stays(
    repository: Repository, storage: VersionedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan rewrites packs of a point; before the copies are made somebody locks it."""
    gone = back_up_disks(repository, [whole(OLD)]).point
    kept = back_up_disks(repository, [whole(HALF)], machine="other").point
    purge(repository, gone)
    collector = reopened(repository).collector(Silence())
    assert collector.plan().rewritten
    copy = collector._copy

    def copy_and_be_locked(*said: object) -> object:
        lock_points(reopened(repository), kept)
        return copy(*said)  # type: ignore[arg-type]

    monkeypatch.setattr(collector, "_copy", copy_and_be_locked)
    collector.run()
    assert check(repository).ok
    require_locked_packs_stand(repository, storage)
    require_survives(storage, {kept: HALF})


def test_who_locks_beside_a_collection_locks_what_it_has_moved(
    repository: Repository, storage: VersionedStorage
) -> None:
    gone = back_up_disks(repository, [whole(OLD)]).point
    kept = back_up_disks(repository, [whole(HALF)], machine="other").point
    purge(repository, gone)
    struck = []

    def strike(_name: str) -> None:
        if not struck:
            struck.append(True)
            assert collect(repository).rewritten_bytes

    storage.object_lock.before_lock = strike
    lock_points(repository, kept)
    assert struck
    require_locked_packs_stand(repository, storage)
    require_survives(storage, {kept: HALF})


def test_who_locks_beside_a_collection_that_has_not_deleted_yet_locks_what_it_has_moved(
    repository: Repository, storage: VersionedStorage
) -> None:
    gone = back_up_disks(repository, [whole(OLD)]).point
    kept = back_up_disks(repository, [whole(HALF)], machine="other").point
    purge(repository, gone)
    struck = []

    def deny(version: object) -> None:
        raise DeniedError(f"{version} cannot be deleted", code="store-denied")

    def strike(_name: str) -> None:
        if not struck:
            struck.append(True)
            assert collect(repository).rewritten_bytes

    storage.object_lock.before_lock = strike
    storage.object_lock.remove = deny  # type: ignore[method-assign]
    lock_points(repository, kept)
    assert struck
    del storage.object_lock.remove  # type: ignore[method-assign]
    condemned = reopened(repository).state().condemned
    stays = [name for name in storage.shelf.versions if name.startswith("packs/") and name[9:] not in condemned]
    assert stays
    assert all(storage.object_lock.retention(name).in_force for name in stays)


def test_a_delete_that_a_lock_refuses_is_counted_and_no_failure(
    repository: Repository, storage: VersionedStorage
) -> None:
    """Somebody else locks what was condemned already."""
    point = back_up_disks(repository, [whole(OLD)]).point
    purge(repository, point)
    remove = storage.object_lock.remove
    names: list[str] = []

    def lock_first(version: object) -> None:
        name = version.name  # type: ignore[attr-defined]
        if name.startswith("packs/") and not names:
            names.append(name)
            storage.object_lock.lock(name, datetime.now(UTC) + 30 * DAYS)
        remove(version)  # type: ignore[arg-type]

    storage.object_lock.remove = lock_first  # type: ignore[method-assign]
    report = collect(repository)
    assert names
    assert report.locked_packs == 1
    assert report.locked_bytes > 0
    assert not report.warnings
    assert [name for name in storage.shelf.versions if name.startswith("packs/")] == names


def test_a_collection_on_a_store_that_keeps_versions_frees_what_it_deletes(
    repository: Repository, storage: VersionedStorage
) -> None:
    point = back_up_disks(repository, [whole(OLD)]).point
    purge(repository, point)
    collect(repository)
    assert not [name for name in storage.shelf.versions if name.startswith(("packs/", "index/"))]


def test_a_backup_whose_parent_moves_while_it_is_locked_locks_where_it_is_now(
    repository: Repository, storage: VersionedStorage
) -> None:
    gone = back_up_disks(repository, [whole(OLD)], machine="other").point
    parent = back_up_disks(repository, [whole(HALF)]).point
    purge(repository, gone)
    struck = []

    def strike(_name: str) -> None:
        if not struck:
            struck.append(True)
            assert collect(repository).rewritten_bytes

    storage.object_lock.before_lock = strike
    new = HALF[:-20_000] + content(4, 20_000)
    point = back_up_disks(reopened(repository), [changed(new, HALF)], parent=parent, care=LOCKED).point
    assert struck
    require_survives(storage, {point: new})


def test_the_log_is_locked_before_the_entry_that_commits(repository: Repository, storage: VersionedStorage) -> None:
    def require_locked() -> None:
        for number in range(1, repository.log.state.number + 1):
            assert storage.object_lock.retention(entry_name(number)).in_force

    back_up_disks(repository, [whole(OLD)])
    back_up_disks(repository, [whole(NEW)], care=LOCKED, at_confirm=require_locked)


class Told(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)
