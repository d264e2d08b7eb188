"""The product's own writers and readers, in every schedule with few interruptions and faults."""

from collections.abc import Iterator

import pytest

from tests.explore.alone import each_actor_alone
from tests.explore.explorer import Budget, by_priorities, found, random_walk, replay, shrunk
from tests.explore.scenes import SCENES, two_writers
from tests.explore.stage import Stage

SCHEDULES = 60
"""Of each kind in each scene: a few seconds. `make soak` goes on from there."""
RANDOM = 5


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with each_actor_alone():
        yield


def require_nothing(stage: Stage, budget: Budget, limit: int) -> None:
    outcome = found(stage, budget, limit)
    assert outcome.failure is None, str(shrunk(stage, outcome.failure))
    assert outcome.whole or outcome.schedules == limit


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_or_told_wrongly_whenever_somebody_is_interrupted(name: str) -> None:
    require_nothing(SCENES[name](), Budget(preemptions=2), SCHEDULES)


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_or_told_wrongly_whatever_goes_wrong_once(name: str) -> None:
    require_nothing(SCENES[name](), Budget(faults=1), SCHEDULES)


@pytest.mark.parametrize("name", SCENES)
def test_random_schedules_lose_nothing(name: str) -> None:
    stage = SCENES[name]()
    for seed in range(RANDOM):
        for play in (random_walk, by_priorities):
            record = play(stage, seed)
            assert record.wrong is None, f"seed {seed}: {record}"


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
