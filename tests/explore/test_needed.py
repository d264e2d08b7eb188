"""Rules that one function of the program keeps: with another in its place, the explorer finds what is lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from holdfast.repository.collect.marking import Marking
from holdfast.repository.collect.run import Collector
from holdfast.repository.collect.survey import Survey
from holdfast.repository.collect.verdict import Verdict
from holdfast.repository.decisions import Entry
from holdfast.repository.index import Index, Pack
from holdfast.repository.log import Log
from holdfast.repository.log_entry import entry_name
from holdfast.repository.packing import SealedPack
from holdfast.repository.records import BlockMissingError, Records
from holdfast.repository.reliance import Reliance
from holdfast.repository.state import Standing
from holdfast.repository.storage.port import ObjectExistsError, StorageError
from holdfast.repository.writer import Attempt
from tests.explore import scenes
from tests.explore.alone import InlineUploader, each_actor_alone
from tests.explore.explorer import Budget, found, shrunk
from tests.explore.stage import Stage

LOST = "cannot be restored"
GARBAGE = "garbage is never deleted"
MISSED = "no good copy of block"
"""Somebody notices, at the latest: what is only in condemned packs is rescued by the next collection."""

take_off_the_list = Survey._list_packs
condemn = Collector._condemn
load_index = Records.load_index
mark = Marking.mark
note_published = Attempt._published


def taken_for_failed(log: Log, entry: Entry, blob: bytes) -> bool:
    try:
        log._storage.put(entry_name(entry.number), [blob])
    except (ObjectExistsError, StorageError):
        return False
    return True


def taken_for_its_own(log: Log, entry: Entry, blob: bytes) -> bool:
    with suppress(ObjectExistsError):
        log._storage.put(entry_name(entry.number), [blob])
    return True


def listed_first(uploader: InlineUploader, sealed: SealedPack) -> None:
    uploader._publish([sealed.pack])
    uploader.put(sealed.pack.object, list(sealed.parts))


def own_packs_not_noted(attempt: Attempt, name: str, packs: list[Pack]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reliance, "note", lambda _self, _packs: None)
        note_published(attempt, name, packs)


def leaf_taken_for_all_it_maps(attempt: Attempt, leaf: bytes) -> bool:
    return bool(attempt._is_known([leaf], attempt.keys.node_id_key)[0])


def loaded_once(records: Records) -> None:
    if not len(records.index):
        load_index(records)


def only_listed(survey: Survey) -> None:
    take_off_the_list(survey)
    survey.stored = {name: size for name, size in survey.stored.items() if name in survey.numbers}


def only_uncondemned(survey: Survey) -> None:
    take_off_the_list(survey)
    survey.stored = {name: size for name, size in survey.stored.items() if name not in survey.state.condemned}


def what_is_there(marking: Marking, roots: Sequence[bytes]) -> None:
    for root in roots:
        with suppress(BlockMissingError):
            mark(marking, [root])


def deleting_first(collector: Collector, verdict: Verdict) -> None:
    for name in verdict._marks:
        collector._deletion.delete({f"packs/{name[:2]}/{name}": 0})
    condemn(collector, verdict)


def always(*_: object) -> bool:
    return True


def nothing(*_: object) -> None:
    pass


class Removal(NamedTuple):
    """A rule, the functions that keep it, what is in their places, and where the loss shows."""

    rule: str
    without: Sequence[tuple[Any, str, Callable[..., object]]]
    scene: Callable[[], Stage]
    budget: Budget
    shows: str


ONE = Budget(preemptions=1)
REMOVALS = (
    Removal(
        "a put whose outcome is unknown is sent again",
        [(Log, "_put", taken_for_failed)],
        scenes.two_writers,
        Budget(faults=1),
        "a writer has committed twice",
    ),
    Removal(
        "an entry that is there is compared",
        [(Log, "_put", taken_for_its_own)],
        scenes.two_writers,
        ONE,
        "reports a point that the log does not know",
    ),
    Removal(
        "a pack is durable before it is listed, and who begins looks whether it is",
        [(InlineUploader, "hand_over", listed_first), (Records, "lost_packs", lambda _records: [])],
        scenes.two_writers,
        Budget(faults=1),
        LOST,
    ),
    Removal(
        "what was relied on is checked at commit",
        [(Reliance, "holds", always)],
        scenes.writer_and_collector,
        ONE,
        LOST,
    ),
    Removal(
        "own packs are checked at commit",
        [(Attempt, "_published", own_packs_not_noted)],
        scenes.new_writer_and_collector,
        ONE,
        LOST,
    ),
    Removal(
        "the parent is live at every entry that condemns",
        [("holdfast.mover.backup", "kept_since", always)],
        scenes.increment_and_collector,
        ONE,
        LOST,
    ),
    Removal(
        "a known leaf says nothing of what it maps",
        [(Attempt, "relies_on_leaf", leaf_taken_for_all_it_maps)],
        scenes.writer_and_two_collectors,
        ONE,
        LOST,
    ),
    Removal(
        "condemned packs are never a hit",
        [(Index, "drop", nothing)],
        scenes.writer_among_leftovers,
        Budget(),
        MISSED,
    ),
    Removal(
        "the copy that stays is in no condemned pack",
        [(Index, "drop", nothing)],
        scenes.two_copies,
        ONE,
        MISSED,
    ),
    Removal(
        "a plan is judged again after a lost race",
        [(Verdict, "_follow", nothing)],
        scenes.writer_and_collector,
        ONE,
        MISSED,
    ),
    Removal(
        "a live id without a copy stops the pass",
        [(Marking, "mark", what_is_there)],
        scenes.writer_and_collector,
        Budget(faults=1),
        LOST,
    ),
    Removal(
        "condemned before deleted",
        [(Collector, "_condemn", deleting_first)],
        scenes.writer_and_collector,
        ONE,
        LOST,
    ),
    Removal(
        "a reader holds its point",
        [("holdfast.jobs.hold", "_hold", nothing)],
        scenes.reader_and_purge,
        ONE,
        "was purged and collected while it was read",
    ),
    Removal(
        "a reader that misses something looks again",
        [
            (Records, "load_index", loaded_once),
            (Records, "_rebuild_index", nothing),
            (Records, "_look_into_unlisted_packs", nothing),
        ],
        scenes.reader_of_what_moves,
        ONE,
        MISSED,
    ),
    Removal(
        "packs that no index object lists are looked for",
        [(Survey, "_list_packs", only_listed)],
        scenes.two_writers,
        Budget(faults=1),
        GARBAGE,
    ),
    Removal(
        "what a dead collector left is looked for",
        [(Survey, "_list_packs", only_uncondemned)],
        scenes.two_collectors,
        Budget(faults=1),
        GARBAGE,
    ),
    Removal(
        "a purge of a point that is not in the trash is void",
        [(Standing, "why_not_purged", Standing.why_kept)],
        scenes.undelete_and_collector,
        Budget(),
        "purged all the same",
    ),
)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with each_actor_alone():
        yield


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.rule.replace(" ", "-"))
def test_each_rule_of_the_real_code_is_needed(removal: Removal, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = removal.scene()
    for where, name, instead in removal.without:
        if isinstance(where, str):
            monkeypatch.setattr(f"{where}.{name}", instead)
        else:
            monkeypatch.setattr(where, name, instead)
    outcome = found(stage, removal.budget)
    assert outcome.failure, f"nothing goes wrong in {outcome.schedules} schedules"
    smallest = shrunk(stage, outcome.failure)
    assert smallest.wrong
    assert removal.shows in smallest.wrong, str(smallest)
