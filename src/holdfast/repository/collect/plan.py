"""What a collection is going to do: the decision, apart from everything that is read or written for it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_WORTH_REWRITING: Final = 0.05
"""Share of a pack that must be dead: a rewrite reads and writes the rest for it."""
_WORTH_A_PASS: Final = 64 * 1024
"""Bytes to be won by rewriting alone: an entry, packs and index objects are to be put for it."""
_LEFT_ALONE: Final = 0.03
"""Share of everything dead that may stay where getting at it costs most."""
_SMALL_BYTES: Final = 8 * 1024 * 1024
_WORTH_GATHERING: Final = 64
"""Small packs, each of which a restore may have to open. What they hold moves once: what is made of them is large."""
_WORTH_PARTING: Final = 1 / 8
"""Share of a large pack that the newest points read in vain: each restore reads and decompresses it."""
SMALLEST_PORTION: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PackUse:
    """A pack that no entry condemns: its size, and how many of its bytes hold what points reach.

    `is_damaged`: a record of it is marked as damaged, or all of it is gone.
    """

    name: str
    size_bytes: int
    live_bytes: int
    is_damaged: bool = False

    @property
    def dead_bytes(self) -> int:
        """What would be won by rewriting the rest."""
        return self.size_bytes - self.live_bytes

    @property
    def dead_share(self) -> float:
        """Between 0 and 1."""
        return self.dead_bytes / max(1, self.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPlan:
    """Packs to condemn, as they are or once the rest of them has been rewritten, and what earlier passes left.

    Rewriting what is `arranged` frees little, and makes restores of aged machines quick: `gathered` packs are small,
    `parted` ones hold much that only older points need among what the newest read. `leftovers` are condemned packs that
    are still there, by their sizes. `index_objects` list packs that go; what else they list is listed anew. `locked`
    packs hold garbage and stay, since the store lets nobody delete them yet.
    """

    dead: tuple[PackUse, ...]
    rewritten: tuple[PackUse, ...]
    gathered: tuple[PackUse, ...]
    parted: tuple[PackUse, ...]
    leftovers: Mapping[str, int]
    index_objects: tuple[str, ...]
    locked: tuple[PackUse, ...] = ()

    @property
    def arranged(self) -> tuple[PackUse, ...]:
        """The packs whose order is what is wrong with them."""
        return (*self.gathered, *self.parted)

    @property
    def condemned(self) -> frozenset[str]:
        """The packs that go."""
        return frozenset(use.name for use in (*self.dead, *self.rewritten, *self.arranged))

    @property
    def rewritten_bytes(self) -> int:
        """About what is to be stored anew; by so much the repository grows before it shrinks."""
        return sum(use.live_bytes for use in (*self.rewritten, *self.arranged))

    @property
    def freed_bytes(self) -> int:
        """About how much smaller the repository is going to be."""
        going = sum(use.dead_bytes for use in (*self.dead, *self.rewritten, *self.arranged))
        return going + sum(self.leftovers.values())

    @property
    def nothing_to_do(self) -> bool:
        """Whether there is no garbage worth the while, and nothing to arrange."""
        return not (self.dead or self.rewritten or self.arranged or self.leftovers or self.index_objects)


def plan_collection(
    uses: Iterable[PackUse],
    leftovers: Mapping[str, int],
    index_objects: Mapping[str, Collection[str]],
    condemned: Collection[str],
    locked: Collection[str] = frozenset(),
    vain_share: Callable[[str], float] = lambda _name: 0.0,
) -> CollectionPlan:
    """Decide what goes.

    `uses` are all packs that are there and not condemned, `leftovers` those that are there and are. `index_objects` say
    which packs each lists, and `condemned` which names no index object should list. `locked` packs cannot be deleted.
    """
    packs = list(uses)
    garbage = [use for use in packs if use.dead_bytes > 0 or use.is_damaged]
    wasteful = [use for use in garbage if use.name not in locked]
    dead = tuple(use for use in wasteful if use.live_bytes == 0)
    worth = tuple(_worth_rewriting(wasteful))
    if not dead and sum(use.dead_bytes for use in worth) < _WORTH_A_PASS:
        worth = ()
    # A record that is damaged and has been replaced would be found damaged for ever.
    hurt = tuple(use for use in wasteful if use.is_damaged and use.live_bytes > 0 and use not in worth)
    rewritten = (*worth, *hurt)
    others = {*locked, *(use.name for use in (*dead, *rewritten))}
    staying = [use for use in packs if use.name not in others]
    gathered = tuple(_worth_gathering(staying))
    moved = sum(use.dead_bytes for use in (*dead, *rewritten)) + sum(use.live_bytes for use in gathered)
    parted = tuple(_worth_parting(staying, vain_share, moved))
    going = {use.name for use in (*dead, *rewritten, *gathered, *parted)}.union(condemned)
    outdated = (name for name, packs in index_objects.items() if not going.isdisjoint(packs))
    return CollectionPlan(
        dead=dead,
        rewritten=rewritten,
        gathered=gathered,
        parted=parted,
        leftovers=leftovers,
        index_objects=tuple(sorted(outdated)),
        locked=tuple(use for use in garbage if use.name in locked),
    )


def _worth_rewriting(wasteful: Sequence[PackUse]) -> Iterator[PackUse]:
    """Those that hold most garbage for their size, until little garbage is left."""
    partly = [use for use in wasteful if use.live_bytes > 0]
    remaining = sum(use.dead_bytes for use in partly)
    acceptable = _LEFT_ALONE * sum(use.dead_bytes for use in wasteful)
    for use in sorted(partly, key=lambda use: use.dead_share, reverse=True):
        if remaining <= acceptable or use.dead_share < _WORTH_REWRITING:
            return
        yield use
        remaining -= use.dead_bytes


def _worth_parting(packs: Iterable[PackUse], vain_share: Callable[[str], float], most_bytes: int) -> Iterator[PackUse]:
    """Large packs of which most is read in vain, as many bytes as go or are gathered: so the cost follows change."""
    large = [use for use in packs if use.size_bytes >= _SMALL_BYTES] if most_bytes else []
    shares = {use.name: vain_share(use.name) for use in large}
    for use in sorted(large, key=lambda use: shares[use.name], reverse=True):
        most_bytes -= use.live_bytes
        if most_bytes < 0 or shares[use.name] <= _WORTH_PARTING:
            return
        yield use


def portions(uses: Sequence[PackUse], most_bytes: int) -> Iterator[Sequence[PackUse]]:
    """These packs, so many at a time that what of them is needed takes about so many bytes."""
    at, size = 0, 0
    for end, use in enumerate(uses, 1):
        size += use.live_bytes
        if size >= most_bytes or end == len(uses):
            yield uses[at:end]
            at, size = end, 0


def _worth_gathering(packs: Iterable[PackUse]) -> Sequence[PackUse]:
    """Small packs, if there are many."""
    small = [use for use in packs if use.size_bytes < _SMALL_BYTES and use.live_bytes > 0]
    return small if len(small) >= _WORTH_GATHERING else []
