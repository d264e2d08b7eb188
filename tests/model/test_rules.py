"""With all rules nothing goes wrong in any interleaving; without any one of them something does."""

from pathlib import Path

import pytest

from tests.model.removals import REMOVALS, Removal, table
from tests.model.rules import Rules
from tests.model.scenarios import LARGER, SCENARIOS
from tests.model.store import A, B, D, Entry, fold

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", SCENARIOS)
def test_with_all_rules_nothing_is_lost_stuck_or_told_wrongly(name: str) -> None:
    outcome = SCENARIOS[name].explore()
    assert outcome.found is None, str(outcome.found)
    assert outcome.whole


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.rule)
def test_each_rule_is_needed(removal: Removal) -> None:
    found = removal.explore().found
    assert found, f"nothing goes wrong without it in {removal.scenario!r}"
    assert found.kind == removal.shows, str(found)
    assert len(found.trace) == removal.steps, str(found)


def test_every_rule_has_been_taken_away() -> None:
    assert [removal.rule for removal in REMOVALS] == list(Rules._fields)


def test_the_page_of_concurrency_shows_what_is_found() -> None:
    assert table() in (ROOT / "docs" / "concurrency.md").read_text()


def test_larger_scenarios_are_new_ones() -> None:
    assert not LARGER.keys() & SCENARIOS.keys()


def test_the_fold_makes_a_decision_that_came_too_late_void() -> None:
    log = (Entry("commit", "p", A), Entry("forget", "p"), Entry("purge", "p"), Entry("undelete", "p"))
    assert fold(log[:2]).live == A
    assert fold(log).live == 0
    assert fold((*log[:2], Entry("hold", "p"), Entry("purge", "p"))).live == A
    assert fold((Entry("commit", "p", B | D), Entry("purge", "p"))).live == B | D
