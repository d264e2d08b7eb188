"""Rules that one function of the program keeps: without that function, the explorer finds what is lost."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from holdfast.repository.collect.survey import Survey
from holdfast.repository.collect.verdict import Verdict
from holdfast.repository.index import Index
from holdfast.repository.log import Log, entry_name
from holdfast.repository.packing import SealedPack
from holdfast.repository.records import Records
from holdfast.repository.state import Standing
from holdfast.repository.storage.port import ObjectExistsError, StorageError
from holdfast.repository.uploading import Uploader
from tests.explore.alone import InlineUploader, each_actor_alone
from tests.explore.explorer import Budget, found, shrunk
from tests.explore.scenes import two_collectors, two_copies, two_writers, undelete_and_collector
from tests.explore.stage import Record, Stage


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with each_actor_alone():
        yield


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
    monkeypatch.setattr(Records, "lost_packs", lambda _self: [])
    record = failure_of(two_writers(), Budget(faults=1))
    assert record.wrong
    assert "cannot be restored" in record.wrong, str(record)


def test_packs_that_no_index_object_lists_are_garbage_for_ever_if_nobody_looks_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = Survey._list_packs

    def only_listed(self: Survey) -> None:
        look(self)
        self.stored = {name: size for name, size in self.stored.items() if name in self.numbers}

    monkeypatch.setattr(Survey, "_list_packs", only_listed)
    record = failure_of(two_writers(), Budget(faults=1))
    assert record.wrong
    assert "garbage is never deleted" in record.wrong, str(record)


def test_what_a_dead_collector_has_left_is_garbage_for_ever_if_nobody_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = Survey._list_packs

    def only_uncondemned(self: Survey) -> None:
        look(self)
        self.stored = {name: size for name, size in self.stored.items() if name not in self.state.condemned}

    monkeypatch.setattr(Survey, "_list_packs", only_uncondemned)
    record = failure_of(two_collectors(), Budget(faults=1))
    assert record.wrong
    assert "garbage is never deleted" in record.wrong, str(record)


def test_a_copy_in_a_condemned_pack_taken_for_one_that_stays_is_found_to_lose_a_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Index, "drop", lambda _self, _names: None)
    record = failure_of(two_copies(), Budget(faults=1))
    assert record.wrong
    assert "cannot be restored" in record.wrong, str(record)


def test_a_plan_that_is_not_judged_again_after_a_lost_race_is_found_to_lose_a_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Verdict, "_follow", lambda _self, _state: None)
    record = failure_of(two_copies(), Budget(preemptions=1))
    assert record.wrong
    assert "no good copy of block" in record.wrong, str(record)


def test_a_purge_that_came_too_late_is_found_to_break_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standing, "why_not_purged", Standing.why_kept)
    record = failure_of(undelete_and_collector(), Budget())
    assert record.wrong
    assert "purged all the same" in record.wrong, str(record)
