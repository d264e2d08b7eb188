"""Heal a repository from another one that holds the same points."""

from collections.abc import Collection
from dataclasses import dataclass

from holdfast.core.errors import DamagedError
from holdfast.core.progress import Progress
from holdfast.mover import Care, mend_point
from holdfast.repository import CheckReport, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class HealReport:
    """Points that are whole again, those that are not, and plain bytes that were brought for them."""

    healed: Collection[str]
    unhealed: Collection[str]
    sent_bytes: int


def heal_from(source: Repository, target: Repository, report: CheckReport, progress: Progress) -> HealReport:
    """Bring what a check found lost of `target`'s points from a `source` that has them too, the newest first.

    What is lost is marked before. Raises what either storage raises; what was brought by then counts.
    """
    target.mark(report.marks)
    theirs = {point.id: point for point in (*source.points(), *source.trash())}
    hurt = {damage.point for damage in report.damage if damage.point}
    healed, unhealed, sent_bytes = list[str](), list[str](), 0
    for point in reversed([*target.trash(), *target.points()]):
        if point.id in hurt and point.id not in theirs:
            progress.warning(f"{source.storage.url} does not have point {point.id} of {point.machine}")
            unhealed.append(point.id)
        elif point.id in hurt:
            try:
                sent_bytes += mend_point(source, target, theirs[point.id], care=Care(), progress=progress).sent_bytes
                healed.append(point.id)
            except DamagedError as error:
                progress.warning(error.message)
                unhealed.append(point.id)
    return HealReport(healed=tuple(healed), unhealed=tuple(unhealed), sent_bytes=sent_bytes)
