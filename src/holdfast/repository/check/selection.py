"""Which packs a check reads, and in which order: a pure decision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from holdfast.repository.check.journal import Journal
from holdfast.repository.check.listing import pack_of
from holdfast.repository.check.report import CheckScope
from holdfast.repository.storage.port import Stored


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """Packs to be read, in this order, and how many an interrupted check had read."""

    packs: Sequence[Stored]
    resumed: int

    @property
    def total_bytes(self) -> int:
        """Bytes to be read."""
        return sum(pack.size for pack in self.packs)


def plan_reading(
    packs: Sequence[Stored], scope: CheckScope, journal: Journal, marked: Collection[str] = ()
) -> ReadingPlan:
    """Least recently proved first, so that checks that never come to their end still come round to everything.

    Those with `marked` records are not passed over: only reading them tells whether the marks still stand.
    """
    if scope.level == "structure":
        return ReadingPlan((), 0)
    oldest_first = sorted(packs, key=lambda pack: (journal.proved_at(pack_of(pack.name)), pack.name))
    if scope.level == "sample":
        return ReadingPlan(_first_share(oldest_first, scope.share), 0)
    if not scope.resume:
        return ReadingPlan(oldest_first, 0)
    left = [
        pack
        for pack in oldest_first
        if (name := pack_of(pack.name)) in marked or not journal.is_proved_by_unfinished(name)
    ]
    return ReadingPlan(left, len(oldest_first) - len(left))


def _first_share(packs: Sequence[Stored], share: float) -> list[Stored]:
    """From the front, as few as make up a share of all bytes."""
    wanted = share * sum(pack.size for pack in packs)
    chosen: list[Stored] = []
    for pack in packs:
        if wanted <= 0:
            break
        chosen.append(pack)
        wanted -= pack.size
    return chosen
