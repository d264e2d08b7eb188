"""Random schedules of the real code on one repository in memory that lives on from chapter to chapter."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count

from holdfast.repository.decisions import Forget, Pin, Purge, Undelete, Unpin
from tests.explore.actors import Cast, History
from tests.explore.alone import each_actor_alone
from tests.explore.explorer import by_priorities, random_walk
from tests.explore.stage import DIES, Record
from tests.explore.storage import FATES

PLANNED = frozenset({f"{kind} {fate}" for kind, fates in FATES.items() for fate in fates})
"""Every fault of the port that a story is to meet some time."""
CLOCKS = {"clock back": timedelta(days=-365), "clock forward": timedelta(days=365)}
_LETTERS = "ABCDEFGHIJ"
_CHAPTERS = 40
"""Then another repository begins: what one holds grows a little with every chapter."""
_MAY_FAIL = ("no-such-point", "collected-meanwhile", "live-block-missing", "conflict")
"""Points are purged while they are read: a hold does not bind those whose clock is a year ahead."""


class Story:
    """One repository, chapter after chapter."""

    def __init__(self, seed: str) -> None:
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._chance = random.Random(seed)
        self._history: History | None = None
        self._names = count(1)

    def run(self, still_time: Callable[[], bool]) -> None:
        """Raises AssertionError with the schedule that failed."""
        with each_actor_alone():
            for number in range(_CHAPTERS):
                if not still_time():
                    return
                self._chapter(number)

    def _chapter(self, number: int) -> None:
        cast = Cast(*_MAY_FAIL, history=self._history)
        if self._history is None:
            for letters in ("ABC", "CDE", "EFG"):
                cast.given(f"first {letters}", letters)
        for _ in range(self._chance.randint(2, 4)):
            self._chance.choice([self._writer, self._writer, self._decider, self._collector, self._reader])(cast)
        seed = self._chance.getrandbits(32)
        if self._chance.random() < 0.7:
            record = random_walk(cast.stage(), seed, switch=self._chance.choice([0.03, 0.1, 0.3]), fault=0.02)
        else:
            record = by_priorities(cast.stage(), seed)
        assert record.wrong is None, f"story {self._seed}, chapter {number}:\n{record}"
        self._count(record)
        self._history = cast.history(record.objects)

    def _writer(self, cast: Cast) -> None:
        letters = "".join(self._chance.choices(_LETTERS, k=self._chance.randint(1, 4)))
        on = self._chance.choice([None, *cast.points])
        cast.backs_up(f"writer {next(self._names)}", letters, on=on, clock_jump=self._clock_jump())

    def _collector(self, cast: Cast) -> None:
        cast.collects(f"collector {next(self._names)}", clock_jump=self._clock_jump())

    def _reader(self, cast: Cast) -> None:
        if cast.points:
            name, machine = f"reader {next(self._names)}", self._chance.choice(list(cast.points))
            cast.restores(name, machine, clock_jump=self._clock_jump())

    def _decider(self, cast: Cast) -> None:
        points = [point.id for point in cast.points.values()]
        if points:
            kind = self._chance.choice([Forget, Forget, Purge, Purge, Undelete, Pin, Unpin])
            body = kind(points=self._chance.sample(points, min(len(points), self._chance.randint(1, 3))))
            cast.decides(f"{body.kind} {next(self._names)}", body, clock_jump=self._clock_jump())

    def _clock_jump(self) -> timedelta:
        name = self._chance.choice([None, None, *CLOCKS])
        self.counts[name or "clock right"] += 1
        return CLOCKS[name] if name else timedelta()

    def _count(self, record: Record) -> None:
        self.counts["chapters"] += 1
        for decision in record.decisions:
            move = decision.moves[decision.chosen]
            if move.faults:
                self.counts[f"{move.kind} {move.fate}" if move.fate != DIES else DIES] += 1
