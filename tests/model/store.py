"""What the actors share: packs, index objects, the log; and what the log says."""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

A, B, D, T = 1, 2, 4, 8
_LETTERS = {A: "A", B: "B", D: "D", T: "T"}


class Pack(NamedTuple):
    name: str
    ids: int


class IndexObject(NamedTuple):
    name: str
    packs: frozenset[Pack]


class Entry(NamedTuple):
    """`about` is a point's name; `packs` are those that a condemn entry or a damage mark names."""

    kind: str
    about: str = ""
    ids: int = 0
    packs: frozenset[str] = frozenset()
    by: str = ""


class Store(NamedTuple):
    log: tuple[Entry, ...]
    packs: frozenset[Pack]
    index: frozenset[IndexObject]

    def put_entry(self, number: int, entry: Entry) -> "Store | None":
        """The store with the entry; None if the number is taken."""
        return self._replace(log=(*self.log, entry)) if number == len(self.log) + 1 else None

    @property
    def listed(self) -> frozenset[Pack]:
        return listed(self.index)


class State(NamedTuple):
    """What a prefix of the log says. Points in the trash are live."""

    points: dict[str, int]
    condemned: frozenset[str]
    damaged: frozenset[str]

    @property
    def unusable(self) -> frozenset[str]:
        """Packs that are condemned or damaged."""
        return self.condemned | self.damaged

    @property
    def live(self) -> int:
        return union_of(self.points.values())


@cache
def fold(log: tuple[Entry, ...], *, voids_purges: bool = True, voids_revivals: bool = True) -> State:
    """The state after these entries. The entry's effect is decided here, whatever its author believed."""
    points: dict[str, int] = {}
    purged: dict[str, int] = {}
    trash, held, condemned, damaged = set(), set(), frozenset[str](), frozenset[str]()
    for entry in log:
        point = entry.about
        match entry.kind:
            case "commit":
                points[point] = entry.ids
            case "forget":
                trash.add(point)
            case "purge":
                if point in points and (not voids_purges or (point in trash and point not in held)):
                    purged[point] = points.pop(point)
            case "undelete" | "hold":
                if point in purged and not voids_revivals:
                    points[point] = purged.pop(point)
                (trash.discard if entry.kind == "undelete" else held.add)(point)
            case "condemn":
                condemned |= entry.packs
            case "damage":
                damaged |= entry.packs
    return State(points, condemned, damaged)


def listed(index: Iterable[IndexObject]) -> frozenset[Pack]:
    return frozenset(pack for each in index for pack in each.packs)


def union_of(ids: Iterable[int]) -> int:
    union = 0
    for each in ids:
        union |= each
    return union


def held_by(packs: Iterable[Pack]) -> int:
    """The ids that these packs hold."""
    return union_of(pack.ids for pack in packs)


def usable(packs: Iterable[Pack], unusable: frozenset[str]) -> frozenset[Pack]:
    return frozenset(pack for pack in packs if pack.name not in unusable)


def spelt(ids: int) -> str:
    return "".join(letter for bit, letter in _LETTERS.items() if ids & bit) or "nothing"


def names(packs: Iterable[Pack | IndexObject | str]) -> str:
    return ", ".join(sorted(each if isinstance(each, str) else each.name for each in packs)) or "nothing"
