"""Which packs go: judged on the state right below the number of the entry that condemns them, each time anew."""

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import Final

from holdfast.repository.collect.locked import Locked, locks_of
from holdfast.repository.collect.survey import Survey
from holdfast.repository.decisions import Condemn
from holdfast.repository.packs import Pack
from holdfast.repository.records import BlockMissingError
from holdfast.repository.state import State

_CONDEMNED_AT_ONCE: Final = 50_000
"""Packs in one entry: about 7 MB."""


class OvertakenError(Exception):
    """What was decided meanwhile took the ground from under the plan."""


class NothingLeftError(Exception):
    """Nothing of the plan remains to be condemned."""


class Verdict:
    """Which packs go, judged anew on whatever state the log has reached.

    A pack that is to go has so many marks: none, or those of what has been copied out of it. Has it more by now, a
    point needs something of it that was not needed before, and it stays. So does one that was locked meanwhile: a
    point's packs are locked before the entry that locks the point.
    """

    def __init__(self, survey: Survey, dead: Iterable[str], locked: Locked) -> None:
        """Nothing that goes, now or later, was locked after the survey's state was read."""
        self.survey = survey
        self._locked = locked
        self._locks = locks_of(survey.state)
        self._marks = {name: survey.marked(name) for name in dead}
        self._copies: set[str] = set()

    def add(self, packs: Iterable[Pack]) -> None:
        """Packs of our own that came to nothing go too."""
        for pack in packs:
            self.survey.stored[pack.name] = pack.size
            self._marks[pack.name] = 0

    def replace(self, names: Iterable[str], packs: Collection[Pack]) -> None:
        """These go too: what is marked of them has been copied to packs of our own."""
        self._marks |= {name: self.survey.marked(name) for name in names}
        self.survey.add(packs)
        self._copies |= {pack.name for pack in packs}

    def decide(self, state: State, _now: datetime) -> Condemn:
        """The packs that go, as far as this state allows. Raises OvertakenError, NothingLeftError."""
        if state.number > self.survey.state.number:
            self._follow(state)
        going = (
            name
            for name, marks in self._marks.items()
            if name not in state.condemned and self.survey.marked(name) == marks
        )
        if not (chosen := sorted(islice(going, _CONDEMNED_AT_ONCE))):
            raise NothingLeftError
        return Condemn(packs=chosen)

    def _follow(self, state: State) -> None:
        try:
            self.survey.follow(state)
        except BlockMissingError as error:
            raise OvertakenError from error
        if self._locks != (locks := locks_of(state)):
            for name in self._locked.among(self._marks):
                del self._marks[name]
            self._locks = locks
        damaged = {pack for pack, _ in state.damaged}
        if not self._copies.isdisjoint(state.condemned.keys() | damaged):
            raise OvertakenError
