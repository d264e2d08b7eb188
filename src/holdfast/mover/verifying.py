"""Keeping what came out of a recovery on trial, with its point."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from holdfast.core.errors import NotFoundError
from holdfast.core.point import Consistency, RestorePoint
from holdfast.core.ports import CapturedDisk
from holdfast.core.progress import Progress
from holdfast.core.verification import CheckOutcome
from holdfast.mover.backup import Road, back_up
from holdfast.repository import Body, Repository, State, Verified

LARGEST_PICTURE_BYTES: Final = 8 * 1024 * 1024
"""A PNG of the largest screens that guests have without a graphics card of their own takes less than half of it."""


def keep_verification(
    repository: Repository,
    point: RestorePoint,
    checks: Sequence[CheckOutcome],
    picture: bytes | None,
    progress: Progress,
) -> None:
    """Let the repository remember what a trial of this point came to, with a PNG of the console if one was taken.

    Raises NotFoundError if the point was purged meanwhile, and what storing raises; then nothing is remembered.
    """
    assert picture is None or len(picture) <= LARGEST_PICTURE_BYTES

    def decided(state: State, root: str | None) -> Body:
        if point.id not in state.standings:
            raise NotFoundError(f"point {point.id} has been purged meanwhile", code="no-such-point")
        return Verified(point=point.id, checks=list(checks), picture=root)

    if picture is None:
        repository.log.append(lambda state, _now: decided(state, None))
        return
    road = Road(
        verb="Keeping the picture of", decide=lambda stored, state: decided(state, stored.definition.xml)
    )  # a picture is stored as a definition is, and becomes no point but a part of one
    taken = _Picture(point.machine, point.machine_id, datetime.now(UTC), picture)
    back_up(taken, repository, parent=None, progress=progress, road=road)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A Capture of no disk, whose definition is a picture."""

    machine: str
    machine_id: str
    captured_at: datetime
    definition: bytes
    consistency: Consistency = "crash"
    freeze_ms: float | None = None
    nvram: bytes | None = None
    disks: Sequence[CapturedDisk] = ()
    warnings: Sequence[str] = ()

    def confirm(self) -> None:
        """It was taken before this began."""

    def settle(self) -> Sequence[str]:
        """Nothing is to be moved."""
        return ()
