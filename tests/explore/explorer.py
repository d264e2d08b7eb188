"""Which schedules are played: all that have few preemptions and faults, fewest first; or random ones; the shortest."""

import random
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from tests.explore.stage import Move, Record, Stage, play

_NO_FAULTS: Final[dict[str, tuple[str, ...]]] = {}


class Budget(NamedTuple):
    """How often somebody is interrupted in the middle of things, and how often something goes wrong."""

    preemptions: int = 0
    faults: int = 0

    def after(self, move: Move) -> "Budget":
        return Budget(self.preemptions - move.preemptions, self.faults - move.faults)

    @property
    def allowed(self) -> bool:
        return self.preemptions >= 0 and self.faults >= 0


class Explored(NamedTuple):
    """`failure` is the first schedule that fails, None if none does; `whole`: no schedule of the budget is left."""

    failure: Record | None
    schedules: int
    states: int
    whole: bool


class _Prefix(NamedTuple):
    """Choices to follow; `left` of the budget after them. Sorts by what has been spent."""

    spent: int
    serial: int
    choices: tuple[int, ...]
    left: Budget


class Exploration:
    """Every schedule within a budget; a state that was met before with as much left is not gone on from."""

    def __init__(self, stage: Stage, budget: Budget) -> None:
        self._stage = stage
        self._fates = None if budget.faults else _NO_FAULTS
        self._seen: dict[int, list[Budget]] = {}
        self._waiting = [_Prefix(0, 0, (), budget)]
        self._serial = 0

    def run(self, limit: int = 1_000_000) -> Explored:
        """Play until one fails, all are played, or as many as the limit."""
        schedules = 0
        while self._waiting and schedules < limit:
            prefix = heappop(self._waiting)
            record = self._play(prefix)
            schedules += 1
            if record.wrong:
                return Explored(record, schedules, len(self._seen), whole=False)
        return Explored(None, schedules, len(self._seen), whole=not self._waiting)

    def _play(self, prefix: _Prefix) -> Record:
        """Follow the prefix, then let everybody finish; what else could have happened on the way waits its turn."""
        choices, left = prefix.choices, prefix.left

        def choose(number: int, moves: Sequence[Move], state: int) -> int | None:
            if number < len(choices):
                return choices[number]
            if self._is_known(state, left):
                return None
            done = (*choices, *([0] * (number - len(choices))))
            for at, move in enumerate(moves[1:], 1):
                after = left.after(move)
                if after.allowed:
                    self._serial += 1
                    spent = prefix.spent + move.preemptions + move.faults
                    heappush(self._waiting, _Prefix(spent, self._serial, (*done, at), after))
            return 0

        return play(self._stage, choose) if self._fates is None else play(self._stage, choose, self._fates)

    def _is_known(self, state: int, left: Budget) -> bool:
        """Whether it was met before with at least as much of the budget left. Remembers it."""
        before = self._seen.setdefault(state, [])
        if any(each.preemptions >= left.preemptions and each.faults >= left.faults for each in before):
            return True
        before.append(left)
        return False


def replay(stage: Stage, choices: Sequence[int]) -> Record:
    """The schedule of a printed list; what the list does not reach is 0, what does not exist any more is 0 too."""

    def choose(number: int, moves: Sequence[Move], _state: int) -> int:
        chosen = choices[number] if number < len(choices) else 0
        return chosen if chosen < len(moves) else 0

    return play(stage, choose)


def shrunk(stage: Stage, failing: Record) -> Record:
    """A schedule that fails too and has no exception from 0 that could be left out, nor one that could come later."""
    best = failing
    again = True
    while again:
        again = False
        for at, chosen in enumerate(best.choices):
            if chosen:
                candidate = replay(stage, [*best.choices[:at], 0, *best.choices[at + 1 :]])
                if candidate.wrong and _exceptions(candidate) < _exceptions(best):
                    best, again = candidate, True
                    break
    return best


def _exceptions(record: Record) -> tuple[int, int]:
    return sum(bool(chosen) for chosen in record.choices), len(record.steps)


def random_walk(stage: Stage, seed: int, *, switch: float = 0.1, fault: float = 0.01) -> Record:
    """Each step somebody else may go on, and something may go wrong."""
    generator = random.Random(seed)

    def choose(_number: int, moves: Sequence[Move], _state: int) -> int:
        faults = [at for at, move in enumerate(moves) if move.faults]
        others = [at for at, move in enumerate(moves) if not move.faults and at]
        if faults and generator.random() < fault:
            return generator.choice(faults)
        if others and (moves[0].faults or generator.random() < switch):
            return generator.choice(others)
        return 0

    return play(stage, choose)


def by_priorities(stage: Stage, seed: int, *, changes: int = 3, length: int = 150) -> Record:
    """Whoever has the highest priority goes on; at a few random steps the highest becomes the lowest (PCT)."""
    generator = random.Random(seed)
    priorities: dict[int, float] = {}
    change_at = {generator.randrange(length) for _ in range(changes)}

    def choose(number: int, moves: Sequence[Move], _state: int) -> int:
        well = [at for at, move in enumerate(moves) if not move.faults]
        for at in well:
            priorities.setdefault(moves[at].actor, generator.random())
        if number in change_at:
            priorities[max(well, key=lambda at: priorities[moves[at].actor])] = -float(number)
        return max(well, key=lambda at: priorities[moves[at].actor])

    return play(stage, choose)


def found(stage: Stage, budget: Budget, limit: int = 1_000_000) -> Explored:
    """All schedules within a budget, with few exceptions before those with many."""
    return Exploration(stage, budget).run(limit)
