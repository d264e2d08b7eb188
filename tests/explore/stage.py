"""One schedule, played: a beginning, the actors, and what must hold after every step that could break it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.explore.storage import FATES, WELL, SharedStorage, Shelf
from tests.explore.turns import Actor, Call

DIES: Final = "dies"
Role = Callable[[SharedStorage], object]
"""What an actor does with the storage; its result goes to the judge."""
Verdict = str | None
"""What is wrong; None if nothing is."""


class Judge:
    """What must hold; asked once about each state of the storage."""

    def __init__(self, of_store: Callable[[Shelf], Verdict], of_end: Callable[[Shelf], Verdict]) -> None:
        self._of_store = of_store
        self._of_end = of_end
        self._verdicts: dict[tuple[bool, int], Verdict] = {}

    def judge(self, shelf: Shelf, *, at_end: bool = False) -> Verdict:
        """What is wrong with the objects as they are, whoever dies now; at the end, also with what stays for ever."""
        key = at_end, shelf.digest
        if key not in self._verdicts:
            self._verdicts[key] = (self._of_end if at_end else self._of_store)(shelf)
        return self._verdicts[key]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Who is there, and who judges. `of_actors` is asked at the end what anybody was told wrongly."""

    objects: Mapping[str, bytes]
    roles: Mapping[str, Role]
    judge: Judge
    of_actors: Callable[[Shelf, Sequence[Actor]], Verdict]


class Move(NamedTuple):
    """One thing that can happen next, to a call of that kind. `actor` is -1: something that was still on its way."""

    actor: int
    fate: str
    kind: str = ""
    preemptions: int = 0
    faults: int = 0


class Decision(NamedTuple):
    """What could happen, what did, and all that what follows depends on."""

    moves: Sequence[Move]
    chosen: int
    state: int


@dataclass(kw_only=True)
class Record:
    """A schedule that was played: as far as something wrong or to its end; `cut_off` if somebody asked to stop."""

    decisions: list[Decision] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    wrong: Verdict = None
    cut_off: bool = False
    objects: Mapping[str, bytes] = field(default_factory=dict)
    """What the storage holds afterwards."""

    @property
    def choices(self) -> tuple[int, ...]:
        """The list that replays it."""
        chosen = [decision.chosen for decision in self.decisions]
        while chosen and not chosen[-1]:
            chosen.pop()
        return tuple(chosen)

    def __str__(self) -> str:
        steps = "\n".join(f"{number:3} {step}" for number, step in enumerate(self.steps, 1))
        return f"{self.wrong}\n{steps}\nreplay: {list(self.choices)}"


Choose = Callable[[int, Sequence[Move], int], int | None]
"""Given the number of the decision, the moves and the state: which; None to stop."""


class _Play:
    def __init__(self, stage: Stage, choose: Choose, fates: Mapping[str, Sequence[str]]) -> None:
        self._stage = stage
        self._choose = choose
        self._fates = fates
        self._shelf = Shelf(stage.objects)
        self._actors = [
            Actor(name, lambda actor, role=role: role(SharedStorage(self._shelf, actor)))
            for name, role in stage.roles.items()
        ]
        self._current = -1
        self._record = Record()

    def run(self) -> Record:
        try:
            while self._record.wrong is None and self._go_on():
                pass
            if self._record.wrong is None and not self._record.cut_off:
                told = self._stage.of_actors(self._shelf, self._actors)
                self._record.wrong = told or self._stage.judge.judge(self._shelf, at_end=True)
        finally:
            for actor in self._actors:
                actor.clear_away()
        self._record.objects = self._shelf.objects
        return self._record

    def _go_on(self) -> bool:
        moves = self._moves()
        if not moves:
            return False
        chosen = self._choose(len(self._record.decisions), moves, self._state()) if len(moves) > 1 else 0
        if chosen is None:
            self._record.cut_off = True
            return False
        if len(moves) > 1:
            self._record.decisions.append(Decision(moves, chosen, self._state()))
        before = self._shelf.dangers
        self._make(moves[chosen])
        if self._record.wrong is None and self._shelf.dangers != before:
            self._record.wrong = self._stage.judge.judge(self._shelf)
        return True

    def _moves(self) -> list[Move]:
        able = [at for at, actor in enumerate(self._actors) if actor.able]
        going_on = self._current in able
        order = [self._current] * going_on + [at for at in able if at != self._current]
        moves = [
            Move(at, WELL, self._call_of(at).kind, preemptions=int(going_on and at != self._current)) for at in order
        ]
        if self._shelf.late:
            moves.append(Move(-1, WELL, preemptions=int(going_on)))
        if going_on and self._fates:
            moves.append(Move(self._current, DIES, faults=1))
        for well in [move for move in moves if move.actor >= 0 and move.fate == WELL]:
            fates = self._fates.get(well.kind, ())
            moves += [well._replace(fate=fate, faults=1) for fate in fates]
        return moves

    def _call_of(self, actor: int) -> Call:
        call = self._actors[actor].waiting
        assert call
        return call

    def _make(self, move: Move) -> None:
        if move.actor < 0:
            late = self._shelf.late.pop(0)
            late.happen()
            self._record.steps.append(f"late: {late.label}")
            return
        actor = self._actors[move.actor]
        self._current = move.actor
        self._record.steps.append(f"{actor.name}: {actor.waiting}" + (f" {move.fate}" if move.fate != WELL else ""))
        actor.spoilt |= move.fate != WELL
        if move.fate == DIES:
            actor.dead = True
        else:
            actor.step(move.fate)
            if actor.bug is not None:
                self._record.wrong = f"{actor.name} breaks: {actor.bug!r}"
            if actor.error is not None:
                self._record.steps.append(f"{actor.name} ends: {actor.error}")

    def _state(self) -> int:
        """All that the future depends on, apart from what is chosen."""
        actors = tuple((actor.history, actor.waiting, actor.dead) for actor in self._actors)
        return hash((self._shelf.digest, tuple(late.label for late in self._shelf.late), self._current, actors))


def play(stage: Stage, choose: Choose, fates: Mapping[str, Sequence[str]] = FATES) -> Record:
    """Play one schedule. Must be called within `each_actor_alone`."""
    return _Play(stage, choose, fates).run()
