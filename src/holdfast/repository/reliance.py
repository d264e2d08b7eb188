"""What a commit stands on: the packs that an attempt met or put its blocks in, and the point it is an edit of.

The invariant: as of `state`, every id that the new point reaches, except below subtrees taken over from its parent, has
a copy in one of these packs that is listed, not condemned and not damaged. Its own packs are among them: a collection
may have taken them for garbage. So an attempt may commit on a later state if nothing that was decided in between took
any of these packs away, and if no collection in between could have taken the parent for dead.
"""

import numpy as np
from numpy.typing import NDArray

from holdfast.repository.index import Index
from holdfast.repository.state import State


class Reliance:
    """The packs that one attempt relies on. Any thread may note more."""

    def __init__(self, index: Index, state: State) -> None:
        self.state = state
        self._index = index
        self._packs: dict[int, str] = {}

    def note(self, packs: NDArray[np.int64]) -> None:
        """Rely on these packs, by their numbers in the index."""
        for number in np.unique(packs).tolist():
            if number not in self._packs:
                self._packs[number] = self._index.packs[number].name

    @property
    def packs(self) -> list[str]:
        """The names of the packs relied on."""
        return list(self._packs.values())

    def holds(self, state: State) -> bool:
        """Whether all that was relied on still counts."""
        condemned = state.condemned.keys() - self.state.condemned.keys()
        damaged = {pack for pack, _ in state.damaged.keys() - self.state.damaged.keys()}
        return (condemned | damaged).isdisjoint(self._packs.values())


def kept_since(base: int, point: str, state: State) -> bool:
    """Whether a point was live at entry `base` and right below each later entry that condemns packs; trash is live.

    Then no collection whose entry this state holds can have condemned anything that the point needs.
    """
    if point in state.standings:
        return state.standings[point].number <= base
    last = max((number for number in state.condemned.values() if number > base), default=base)
    return state.purged.get(point, 0) > last
