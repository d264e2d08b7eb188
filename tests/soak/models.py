"""What the tests have no time for: larger scenarios of the model, and schedules with more interruptions."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from tests.explore.alone import each_actor_alone
from tests.explore.explorer import Budget, found, shrunk
from tests.explore.stage import Stage
from tests.model.scenarios import LARGER

_STATES = 800_000
"""About 1 GiB."""
_SCHEDULES = 1_000
_BUDGETS = (Budget(preemptions=3), Budget(preemptions=2, faults=1), Budget(faults=2))


def explorations(stages: Mapping[str, Callable[[], Stage]], counts: Counter[str]) -> Iterator[str]:
    """One exploration after the other, each named when it is done. Raises AssertionError with the trace that fails."""
    for name, scenario in LARGER.items():
        outcome = scenario.explore(limit=_STATES)
        assert outcome.found is None, f"{name}: {outcome.found}"
        counts["states of the model"] += outcome.states
        yield f"model: {name}: {outcome.states} states{', all' if outcome.whole else ''}"
    for name, make in stages.items():
        for budget in _BUDGETS:
            with each_actor_alone():
                explored = found(make(), budget, _SCHEDULES)
                assert explored.failure is None, f"{name}: {shrunk(make(), explored.failure)}"
            counts["schedules explored"] += explored.schedules
            yield f"schedules: {name}, {budget}: {explored.schedules}{', all' if explored.whole else ''}"
