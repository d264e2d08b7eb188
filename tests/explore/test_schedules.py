"""The product's own writers and readers, in every schedule with few interruptions and faults."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from holdfast.repository.log import Log, entry_name
from holdfast.repository.packing import SealedPack
from holdfast.repository.records import Records
from holdfast.repository.storage.port import ObjectExistsError, StorageError
from holdfast.repository.uploading import Uploader
from tests.explore.actors import Cast
from tests.explore.alone import InlineUploader, each_actor_alone
from tests.explore.explorer import Budget, by_priorities, found, random_walk, replay, shrunk
from tests.explore.stage import Record, Stage


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with each_actor_alone():
        yield


def two_writers() -> Stage:
    """Both need what is there, and C, which is not."""
    cast = Cast()
    cast.given("old", "AB")
    cast.backs_up("web", "AC")
    cast.backs_up("mail", "CB")
    return cast.stage()


def writer_and_reader() -> Stage:
    cast = Cast()
    cast.given("old", "AB")
    cast.backs_up("web", "BC", on="old")
    cast.restores("reader", "old")
    return cast.stage()


def require_nothing(stage: Stage, budget: Budget, limit: int = 1_000_000) -> None:
    outcome = found(stage, budget, limit)
    assert outcome.failure is None, str(shrunk(stage, outcome.failure))
    assert outcome.whole or outcome.schedules == limit


def test_two_writers_commit_once_each_whenever_they_are_interrupted() -> None:
    require_nothing(two_writers(), Budget(preemptions=2))


def test_two_writers_lose_nothing_whatever_goes_wrong_once() -> None:
    require_nothing(two_writers(), Budget(faults=1))


def test_a_reader_reads_exactly_beside_a_writer() -> None:
    require_nothing(writer_and_reader(), Budget(preemptions=2))


@pytest.mark.parametrize("seed", range(10))
def test_random_schedules_lose_nothing(seed: int) -> None:
    for play in (random_walk, by_priorities):
        record = play(two_writers(), seed)
        assert record.wrong is None, str(record)


# --- the explorer itself ----------------------------------------------------------------------------------------------


def test_a_schedule_is_played_again_exactly_from_its_choices() -> None:
    stage = two_writers()
    record = random_walk(stage, 5, switch=0.3, fault=0.05)
    assert any(record.choices)
    assert replay(stage, record.choices).steps == record.steps


def test_every_interruption_makes_another_schedule() -> None:
    stage = two_writers()
    none, one, two = (found(stage, Budget(preemptions=count)) for count in range(3))
    assert none.schedules == 2, "one after the other, and the other way round"
    assert none.states < one.states < two.states
    assert all(each.whole for each in (none, one, two))


def failure_of(stage: Stage, budget: Budget) -> Record:
    """The smallest schedule that fails; there must be one."""
    outcome = found(stage, budget)
    assert outcome.failure, f"nothing goes wrong in {outcome.schedules} schedules"
    return shrunk(stage, outcome.failure)


def test_a_put_taken_for_failed_is_found_to_commit_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: Log, number: int, blob: bytes) -> bool:
        try:
            self._storage.put(entry_name(number), [blob])
        except (ObjectExistsError, StorageError):
            return False
        return True

    monkeypatch.setattr(Log, "_put", put)
    record = failure_of(two_writers(), Budget(faults=1))
    assert record.wrong == "a writer has committed twice", str(record)
    assert sum(bool(choice) for choice in record.choices) == 1, str(record)


def test_an_entry_taken_for_its_own_is_found_to_report_what_is_not_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: Log, number: int, blob: bytes) -> bool:
        with suppress(ObjectExistsError):
            self._storage.put(entry_name(number), [blob])
        return True

    monkeypatch.setattr(Log, "_put", put)
    record = failure_of(two_writers(), Budget(preemptions=1))
    assert record.wrong
    assert "reports a point that the log does not know" in record.wrong, str(record)


def test_an_index_object_put_too_early_is_found_to_lose_a_point_if_nobody_looks_for_the_pack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hand_over(self: Uploader, sealed: SealedPack) -> None:
        self._publish([sealed.pack])
        self.put(sealed.pack.object, list(sealed.parts))

    monkeypatch.setattr(InlineUploader, "hand_over", hand_over)
    assert found(two_writers(), Budget(faults=1)).failure is None, "writers look whether packs are there"
    monkeypatch.setattr(Records, "lost_packs", lambda _self: [])
    record = failure_of(two_writers(), Budget(faults=1))
    assert record.wrong
    assert "cannot be restored" in record.wrong, str(record)
