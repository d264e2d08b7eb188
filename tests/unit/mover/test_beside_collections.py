"""A collection strikes at the worst moments of a backup: the point is exact all the same, or there is none.

The collector runs to its end between two steps of the backup, as another process would.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from holdfast.core.point import RestorePoint
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.decisions import Condemn, Damage
from tests.support.collections import collect, forget, purge
from tests.support.decisions import decide
from tests.support.disks import changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored


def content(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


OLD = content(1)
NEW = OLD[:100_000] + content(2, 70_000) + OLD[170_000:]


@pytest.fixture(autouse=True)
def one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 50_000)


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStorage(), SMALL_CUT)


def meanwhile(repository: Repository, *acts: Callable[[], object]) -> Callable[[], None]:
    """What happens right before each commit that is tried: the acts one after the other, then nothing any more."""
    left: Iterator[Callable[[], object]] = iter(acts)

    def strike() -> None:
        if act := next(left, None):
            act()

    return strike


def require_exact(repository: Repository, point: RestorePoint, expected: bytes) -> None:
    assert restored(reopened(repository), point) == expected
    report = check(repository)
    assert report.ok, report.damage


def test_a_writers_own_packs_are_checked_like_any_other(repository: Repository) -> None:
    """To a collection they are garbage: no point reaches what is not committed."""
    reports = []
    outcome = back_up_disks(
        repository, [whole(NEW)], at_confirm=meanwhile(repository, lambda: reports.append(collect(repository)))
    )
    assert reports[0].condemned_packs > 3
    assert reports[0].deleted_objects > 3
    require_exact(repository, outcome.point, NEW)


def test_a_writer_that_is_struck_again_stores_again(repository: Repository) -> None:
    strike = meanwhile(repository, *[lambda: collect(repository)] * 4)
    require_exact(repository, back_up_disks(repository, [whole(NEW)], at_confirm=strike).point, NEW)
    assert len(set(repository.state().condemned.values())) == 4


def test_what_was_met_in_the_index_is_stored_again_if_it_was_condemned(repository: Repository) -> None:
    """Blocks of a point that was purged are met, then collected."""
    dying = back_up_disks(repository, [whole(OLD)], machine="old").point
    purge(repository, dying)
    outcome = back_up_disks(repository, [whole(OLD)], at_confirm=meanwhile(repository, lambda: collect(repository)))
    assert outcome.sent_bytes >= len(OLD)
    require_exact(repository, outcome.point, OLD)


def test_entries_that_do_not_concern_a_writer_cost_it_nothing(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(OLD)]).point
    confirmed = []

    def strike() -> None:
        confirmed.append(None)
        decide(repository.log, Condemn(packs=["ab" * 32]))
        decide(repository.log, Damage(records={"cd" * 32: [0]}))

    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=parent, at_confirm=strike)
    assert len(confirmed) == 1
    assert outcome.read_bytes < len(NEW) / 2
    assert restored(reopened(repository), outcome.point) == NEW


def test_what_was_met_is_stored_again_if_it_was_marked_as_damaged(repository: Repository) -> None:
    old = back_up_disks(repository, [whole(OLD)], machine="old").point
    index = repository.records.index
    wanted = repository.open_disk(old.disks[0].root)
    segment = next(piece.id for _, leaf in wanted.leaves() for piece in wanted.pieces(leaf))
    place = index.copies(segment)[0]
    pack = index.packs[place.pack]
    mark = Damage(records={pack.name: [pack.table.record_of(place.segment)]})
    strike = meanwhile(repository, lambda: decide(repository.log, mark))
    outcome = back_up_disks(repository, [whole(OLD)], at_confirm=strike)
    assert 0 < outcome.sent_bytes < len(OLD)
    assert len(reopened(repository).records.index) == 0
    stranger = reopened(repository)
    stranger.records.load_index()
    assert len(stranger.records.index.copies(segment)) == 2
    assert restored(stranger, outcome.point) == OLD


def test_subtrees_of_a_parent_that_was_collected_are_read_and_stored_again(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(OLD)]).point

    def strike() -> None:
        purge(repository, parent)
        collect(repository)

    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=parent, at_confirm=meanwhile(repository, strike))
    assert outcome.read_bytes >= len(NEW)
    assert outcome.point.disks[0].capture == "full"
    require_exact(repository, outcome.point, NEW)


def test_a_parent_that_was_purged_after_the_last_collection_may_be_built_on(repository: Repository) -> None:
    """Nothing of it can have been condemned, and with the commit it is needed again."""
    parent = back_up_disks(repository, [whole(OLD)]).point
    strike = meanwhile(repository, lambda: purge(repository, parent))
    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=parent, at_confirm=strike)
    assert outcome.read_bytes < len(NEW) / 2
    collect(repository)
    require_exact(repository, outcome.point, NEW)


def test_a_parent_in_the_trash_is_as_alive_as_any(repository: Repository) -> None:
    parent = back_up_disks(repository, [whole(OLD)]).point

    def strike() -> None:
        forget(repository, parent)
        collect(repository)

    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=parent, at_confirm=meanwhile(repository, strike))
    assert outcome.point.disks[0].capture == "incremental"
    require_exact(repository, outcome.point, NEW)


def test_a_parent_that_was_dead_before_the_writer_began_is_not_built_on(repository: Repository) -> None:
    """It was chosen when it still lived."""
    parent = back_up_disks(repository, [whole(OLD)]).point
    purge(repository, parent)
    outcome = back_up_disks(repository, [changed(NEW, OLD)], parent=parent)
    assert outcome.point.disks[0].capture == "full"
    require_exact(repository, outcome.point, NEW)


def test_a_collection_while_a_writer_reads_costs_it_nothing_it_has_not_stored_yet(repository: Repository) -> None:
    """Packs that were never listed are condemned too; the writer learns of it at its commit."""
    dying = back_up_disks(repository, [whole(OLD)], machine="old").point
    struck = []

    def at_read(offset: int, _length: int) -> None:
        if offset > 150_000 and not struck:
            struck.append(purge(repository, dying))
            collect(repository)

    outcome = back_up_disks(repository, [whole(NEW, fault=at_read)])
    assert struck
    require_exact(repository, outcome.point, NEW)


def test_lookups_never_hit_condemned_packs(repository: Repository) -> None:
    purge(repository, back_up_disks(repository, [whole(OLD)], machine="old").point)
    packs = [stored.name.rpartition("/")[2] for stored in repository.storage.list("packs/")]
    decide(repository.log, Condemn(packs=packs))
    outcome = back_up_disks(reopened(repository), [whole(OLD)])
    assert outcome.sent_bytes >= len(OLD)
    assert outcome.read_bytes == len(OLD)
    collect(repository)
    require_exact(repository, outcome.point, OLD)
