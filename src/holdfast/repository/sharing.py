"""Sharing work: what an attempt stores itself, and what it leaves to others who are storing the same right now.

Siblings are the attempts of this process, neighbours those of other processes of this host. To rely on them spares
work and is never trusted: what they did not bring home in a while is named as work to do again.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import HoldfastError
from holdfast.repository.claims import Claims, Promises
from holdfast.repository.cut import Piece
from holdfast.repository.neighbours import Neighbours

_SIBLING_PATIENCE_S: Final = 30.0
"""Sharing spares work; it must not make one machine's backup wait for another's. After this the bytes go twice."""
_NEIGHBOUR_PATIENCE_S: Final = 10.0
_NEIGHBOUR_LOOK_S: Final = 0.3


class Sharing:
    """One attempt's part of it. Ends with `close`. Safe to use from many threads."""

    def __init__(
        self, claims: Claims, is_stored: Callable[[Sequence[bytes]], NDArray[np.bool_]], look_again: Callable[[], None]
    ) -> None:
        """`is_stored` tells which segments the index has, `look_again` lets it take in what others have listed."""
        self._claims = claims
        self._neighbours = claims.neighbours()
        self._promises = Promises(is_stored)
        self._unreliable: set[bytes] = set()
        self._look_again = look_again

    def mine(self, pieces: Sequence[Piece], work: Hashable) -> list[Piece]:
        """Those of these pieces, which the index lacks, that are this attempt's to store; `work` needs all of them."""
        mine = [piece for piece in pieces if self._is_mine(piece.id, work)]
        return mine if self._neighbours is None else self._without_neighbours(self._neighbours, mine, work)

    def brought_home(self, ids: Iterable[bytes]) -> None:
        """These are in the index now: siblings who rely on them need not wait."""
        self._claims.release(ids)

    def settle(self) -> set[Hashable]:
        """Wait a while for what others had claimed. Returns the work that needs what they did not bring home."""
        self._claims.wait_for(self._promises.ids(), _SIBLING_PATIENCE_S)
        if self._neighbours is not None:
            self._wait_for_neighbours(self._neighbours)
        broken = self._promises.redeem()
        self._unreliable.update(broken)
        return set().union(*broken.values())

    def close(self) -> None:
        """What is claimed and was not brought home is anybody's again."""
        self._claims.release_all(self)
        if self._neighbours is not None:
            self._neighbours.close()

    def _is_mine(self, wanted: bytes, work: Hashable) -> bool:
        """Whether no sibling is storing an id, nor this attempt already."""
        owner = self._claims.take(wanted, self)
        if owner is None:
            return True
        if owner is self:
            if self._neighbours is not None:  # a lane may be about to leave it to a neighbour
                self._promises.add(wanted, work)
            return False
        if wanted in self._unreliable:
            self._unreliable.discard(wanted)
            return True
        self._promises.add(wanted, work)
        return False

    def _without_neighbours(self, neighbours: Neighbours, pieces: Sequence[Piece], work: Hashable) -> list[Piece]:
        """Those that no other process of this host is storing already; for the others it relies on that process."""
        elsewhere = neighbours.claim([piece.id for piece in pieces if piece.id not in self._unreliable])
        self._unreliable.difference_update(piece.id for piece in pieces)
        if elsewhere:
            self._claims.release(elsewhere)
            for wanted in elsewhere:
                self._promises.add(wanted, work)
        return [piece for piece in pieces if piece.id not in elsewhere]

    def _wait_for_neighbours(self, neighbours: Neighbours) -> None:
        """Look for what they have listed, until they have brought home what this attempt relies on, or for a while."""
        until = time.monotonic() + _NEIGHBOUR_PATIENCE_S
        while (waiting := self._promises.unkept()) and neighbours.are_at_work(waiting) and time.monotonic() < until:
            time.sleep(_NEIGHBOUR_LOOK_S)
            with suppress(HoldfastError):
                self._look_again()
