"""Breadth-first over all interleavings; the first state in which something is wrong gives a shortest trace."""

import gc
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.model import collector as collecting
from tests.model import others
from tests.model import writer as writing
from tests.model.collector import Collector
from tests.model.others import Decider, Reader
from tests.model.rules import Setting, Step
from tests.model.store import A, B, D, Store, held_by, names, spelt, usable
from tests.model.writer import Writer

Actor = Writer | Collector | Reader | Decider


class World(NamedTuple):
    store: Store
    actors: tuple[Actor, ...]


class Found(NamedTuple):
    """A counterexample: what is wrong, after a colon where, and how it came about."""

    wrong: str
    trace: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.wrong.partition(":")[0]

    def __str__(self) -> str:
        steps = "\n".join(f"{number:3} {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.wrong}\n{steps}"


class Outcome(NamedTuple):
    """`found` is None if nothing is wrong in any of the `states`; `whole`: there are no others."""

    found: Found | None
    states: int
    whole: bool


STEPS = {
    Writer: writing.steps,
    Collector: collecting.steps,
    Reader: others.reader_steps,
    Decider: others.decider_steps,
}


class Search:
    """One exploration from a beginning."""

    def __init__(self, setting: Setting, beginning: World, *, forged: bool = False, alone: bool = True) -> None:
        self._setting = setting
        self._beginning = beginning
        self._forged = forged
        self._alone = alone
        self._verdicts: dict[Store, str | None] = {}

    def run(self, limit: int) -> Outcome:
        """Explore until something is wrong, everything has been seen, or there are more states than `limit`."""
        gc.disable()  # nothing here is cyclic, and looking through all of it again and again takes most of the time
        try:
            return self._explore(limit)
        finally:
            gc.enable()

    def _explore(self, limit: int) -> Outcome:
        came_from: dict[World, tuple[World, str, str] | None] = {self._beginning: None}
        waiting = deque([self._beginning])
        while waiting:
            world = waiting.popleft()
            for name, step, after in self._successors(world):
                if after in came_from:
                    continue
                came_from[after] = (world, name, step.label)
                if wrong := self._wrong(after):
                    return Outcome(Found(wrong, _trace(came_from, after)), len(came_from), whole=False)
                waiting.append(after)
            if len(came_from) > limit:
                return Outcome(None, len(came_from), whole=False)
        return Outcome(None, len(came_from), whole=True)

    def _successors(self, world: World) -> Iterator[tuple[str, Step, World]]:
        store, actors = world
        for at, actor in enumerate(actors):
            for step in STEPS[type(actor)](self._setting, self._beginning.store, store, actor):
                yield actor.name, step, World(step.store, (*actors[:at], step.actor, *actors[at + 1 :]))

    def _wrong(self, world: World) -> str | None:
        """The invariants, in words. What concerns the store alone is looked at once for each store."""
        if world.store not in self._verdicts:
            self._verdicts[world.store] = self._lost(world.store) or self._stuck(world.store)
        return self._verdicts[world.store] or self._told_wrong(world)

    def _lost(self, store: Store) -> str | None:
        state = self._setting.state(store)
        for point, ids in state.points.items():
            good = usable(store.packs, self._damaged_at_commit(store, point)) if state.damaged else store.packs
            if gone := ids & ~held_by(good):
                return f"part of a live point is in no pack: {spelt(gone)} of {point}"
            if unlisted := ids & ~held_by(good & store.listed):
                return f"part of a live point is in no pack that is listed: {spelt(unlisted)} of {point}"
            if doomed := 0 if self._forged else ids & ~held_by(usable(good, state.condemned)):
                return f"part of a live point is only in condemned packs: {spelt(doomed)} of {point}"
        return None

    def _damaged_at_commit(self, store: Store, point: str) -> frozenset[str]:
        """A point may not rely on what was marked before it came to be. No rule helps against what breaks later."""
        number = next(at for at, entry in enumerate(store.log) if (entry.kind, entry.about) == ("commit", point))
        return self._setting.state(store, number).damaged

    def _told_wrong(self, world: World) -> str | None:
        """Whether somebody was told what is not so."""
        for actor in world.actors:
            match actor:
                case Reader(at="miss"):
                    return "a reader misses part of the point that it holds"
                case Decider(told=True) if "p" not in self._setting.state(world.store).points:
                    return "a point that somebody was told is back was purged all the same"
                case Writer():
                    commits = sum(entry.about == actor.entry.about for entry in world.store.log)
                    if commits > 1:
                        return f"a writer commits twice: {actor.name}"
                    if actor.at == "done" and not commits:
                        return f"success is reported that the log does not know: {actor.name}"
                case _:
                    pass
        return None

    def _stuck(self, store: Store) -> str | None:
        """Everyone is dead: whether fresh collectors free all garbage, and a fresh writer can commit."""
        if not self._alone:
            return None
        left = store
        for number in range(3):
            left = self._let_run(left, Collector(f"last{number}"))[0]
        live = self._setting.state(left).live
        if garbage := [pack for pack in left.packs if not pack.ids & live]:
            return f"garbage is never deleted: {names(garbage)}"
        if left.listed - left.packs:
            return f"index entries of packs that are gone are never removed: {names(left.listed - left.packs)}"
        if gone := live & ~held_by(left.packs):
            return f"a quiet collection loses part of a live point: {spelt(gone)}"
        after, writer = self._let_run(store, Writer("fresh", A | B | D))
        if writer.at != "done" or self._lost(after):
            return "a new writer that runs alone cannot commit"
        return None

    def _let_run(self, store: Store, actor: Actor) -> tuple[Store, Actor]:
        """Alone, seeing everything."""
        quiet = self._setting._replace(stale=False, unknown=False, late=False)
        while step := next(STEPS[type(actor)](quiet, store, store, actor), None):
            store, actor = step.store, step.actor
        return store, actor


def _trace(came_from: dict[World, tuple[World, str, str] | None], world: World) -> tuple[str, ...]:
    steps = []
    while before := came_from[world]:
        world, name, label = before
        steps.append(f"{name} {label}")
    return tuple(reversed(steps))
