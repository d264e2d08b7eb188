"""Who meets whom: small enough to be explored whole, and for each rule one in which its absence shows."""

from typing import NamedTuple

from tests.model.collector import Collector
from tests.model.others import Decider, Reader
from tests.model.rules import Setting
from tests.model.search import Outcome, Search, World
from tests.model.store import A, B, D, Entry, IndexObject, Pack, Store, T
from tests.model.writer import Writer

P = Entry("commit", "p", A)
P_IN_TRASH = (P, Entry("forget", "p"))
ONCE, TWICE, SPARE_A, ONLY_B = Pack("p0", A), Pack("p1", A | B), Pack("p2", A), Pack("p3", B)
FORGET = Decider(Entry("forget", "p"), "forgetter")
PURGE = Decider(Entry("purge", "p"), "purger")
UNDELETE = Decider(Entry("undelete", "p"), "undeleter")
DAMAGE = Entry("damage", packs=frozenset(["p0", "p3"]))
MARK = Decider(DAMAGE, "checker")
FORGE = Decider(Entry("condemn", packs=frozenset(["p0"])), "forger")
FIRST, SECOND = Collector("collector 1"), Collector("collector 2")


def store(log: tuple[Entry, ...], *index: tuple[Pack, ...]) -> Store:
    """Packs, each listed by one index object."""
    objects = frozenset(IndexObject(f"i{number}", frozenset(packs)) for number, packs in enumerate(index))
    return Store(log, frozenset(pack for packs in index for pack in packs), objects)


class Scenario(NamedTuple):
    """A beginning and who is at work. `forged`: condemn entries may lie, so that only real loss counts as loss."""

    beginning: Store
    actors: tuple[NamedTuple, ...]
    setting: Setting = Setting()
    forged: bool = False
    alone: bool = True

    def explore(self, without: str | None = None, limit: int = 10_000_000) -> Outcome:
        """Look at everything that can happen, with all rules or without one of them."""
        setting = self.setting
        if without:
            setting = setting._replace(rules=setting.rules.without(without))
        world = World(self.beginning, self.actors)
        return Search(setting, world, forged=self.forged, alone=self.alone).run(limit)


SPARE = store(P_IN_TRASH, (ONCE, TWICE))
"""A twice, B is garbage; p may be purged."""
HALF_DEAD = store(P_IN_TRASH, (TWICE,))

SCENARIOS = {
    "a writer beside a collector": Scenario(
        SPARE, (Writer("writer", A | B | D), FIRST, PURGE), Setting(stale=True, unknown=True, every_plan=True)
    ),
    "a writer beside two collectors": Scenario(SPARE, (Writer("writer", A | B), FIRST, SECOND, PURGE), Setting()),
    "an increment beside a collector": Scenario(
        SPARE, (Writer("writer", B, inherits=A), FIRST, PURGE), Setting(every_plan=True)
    ),
    "two writers beside a collector": Scenario(
        SPARE, (Writer("writer 1", A | B | D), Writer("writer 2", B), FIRST), Setting()
    ),
    "two writers of the same": Scenario(HALF_DEAD, (Writer("writer 1", D), Writer("writer 2", D), FIRST), Setting()),
    "two writers that fail": Scenario(
        SPARE, (Writer("writer 1", B | D, attempts=1), Writer("writer 2", D, attempts=1), FIRST), Setting()
    ),
    "answers that are lost": Scenario(
        HALF_DEAD, (Writer("writer 1", B | D), Writer("writer 2", B), FIRST), Setting(unknown=True)
    ),
    "two collectors beside a point that is purged": Scenario(SPARE, (FIRST, SECOND, PURGE), Setting(every_plan=True)),
    "listings that are stale": Scenario(SPARE, (Writer("writer", A | B | D), FIRST, SECOND), Setting(stale=True)),
    "packs that are rewritten": Scenario(
        HALF_DEAD, (Writer("writer", B, inherits=A), FIRST, SECOND), Setting(rewrites=True)
    ),
    "a retry that lands late": Scenario(HALF_DEAD, (Writer("writer", D), FIRST, SECOND), Setting(late=True)),
    "a page": Scenario(
        store((Entry("commit", "p", A | T), Entry("commit", "q", T), Entry("forget", "p")), (ONCE,), (Pack("pt", T),)),
        (Writer("writer", A | T), FIRST, PURGE),
        Setting(every_plan=True),
    ),
    "packs that are damaged": Scenario(
        store((DAMAGE, P), (ONCE, SPARE_A, ONLY_B)), (Writer("writer", A | B), FIRST), Setting(every_plan=True)
    ),
    "damage that is marked meanwhile": Scenario(
        store((P,), (SPARE_A, ONLY_B)), (Writer("writer", A | B), MARK, FIRST), Setting(every_plan=True)
    ),
    "a forged entry": Scenario(store((P,), (ONCE, TWICE)), (Writer("writer", A | D), FORGE, FIRST), forged=True),
    "a forged entry about a last copy": Scenario(
        store((P,), (ONCE,)), (Writer("writer", D, inherits=A), FORGE, FIRST), forged=True
    ),
    "a reader beside collectors": Scenario(SPARE, (Reader(), FIRST, SECOND, PURGE), Setting(stale=True), alone=False),
    "a reader of packs that move twice": Scenario(
        HALF_DEAD, (Reader(), FIRST, SECOND), Setting(rewrites=True), alone=False
    ),
    "an undelete beside a purge": Scenario(SPARE, (Writer("writer", B | D), UNDELETE, PURGE, FIRST), Setting()),
}

EVERYBODY = (Writer("writer 1", B, inherits=A), Writer("writer 2", A | B), FIRST, SECOND, PURGE, Reader())
LARGER = {
    "a writer beside two collectors of any plan": Scenario(
        SPARE, (Writer("writer", A | B), FIRST, SECOND, PURGE), Setting(every_plan=True)
    ),
    "an increment beside two collectors": Scenario(
        SPARE, (Writer("writer", B, inherits=A), FIRST, SECOND, PURGE), Setting()
    ),
    "two writers of the same beside a purge": Scenario(
        HALF_DEAD, (Writer("writer 1", D), Writer("writer 2", D), FIRST, PURGE), Setting()
    ),
    "packs that are rewritten beside a purge": Scenario(
        HALF_DEAD, (Writer("writer", B, inherits=A), FIRST, SECOND, PURGE), Setting(rewrites=True)
    ),
    "a retry that lands late beside a purge": Scenario(
        HALF_DEAD, (Writer("writer", D), FIRST, SECOND, PURGE), Setting(late=True, every_plan=True)
    ),
    "a large writer beside two collectors": Scenario(
        SPARE, (Writer("writer", A | B | D), FIRST, SECOND, PURGE), Setting(stale=True, unknown=True, every_plan=True)
    ),
    "two writers beside two collectors": Scenario(
        SPARE, (Writer("writer 1", B, inherits=A), Writer("writer 2", D), FIRST, SECOND, PURGE), Setting(rewrites=True)
    ),
    "everybody": Scenario(SPARE, EVERYBODY, Setting(), alone=False),
}
"""For the soak: explored as far as memory allows."""
