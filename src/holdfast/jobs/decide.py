"""Decide: what a person says about single points. Every act is one decision in the log.

What would be void is refused, judged on the state right below the entry's number: nobody decides on what has changed
meanwhile.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from holdfast.core.errors import NotFoundError, RefusedError
from holdfast.jobs.hold import how_holds_end, persons_holds, tenants_holds
from holdfast.repository import Repository, Standing, State
from holdfast.repository.decisions import Body, Forget, Hold, Lock, Pin, PointDecision, Purge, Release, Undelete, Unpin

WhyNot = Callable[[Standing, datetime], str]

_HINTS: Final = {
    "pinned": "holdfast point pin --release",
    "in the trash already": "`holdfast point delete --purge` or `holdfast repository purge` delete it for good",
    "in the trash": "holdfast point undelete",
    "not in the trash": "holdfast point list --trash",
}


def delete_points(repository: Repository, points: Sequence[str], reason: str = "") -> None:
    """Move live points to the trash. Raises RefusedError if one is pinned, held, locked or there already."""
    _decide(repository, Forget(points=list(points), reason=reason), Standing.why_not_forgotten)


def require_deletable(repository: Repository, points: Sequence[str]) -> None:
    """Raises RefusedError if `delete_points` would, as things stand."""
    _allowed(repository.state(), repository.log.clock(), points, Standing.why_not_forgotten)


def require_purgeable(repository: Repository, points: Sequence[str]) -> None:
    """Raises RefusedError if `purge_points` would, as things stand."""
    _allowed(repository.state(), repository.log.clock(), points, Standing.why_not_purged)


def undelete_points(repository: Repository, points: Sequence[str]) -> None:
    """Bring points back from the trash."""
    _decide(repository, Undelete(points=list(points)), _why_not_undeleted)


def purge_points(repository: Repository, points: Sequence[str]) -> None:
    """Delete points in the trash for good. Raises RefusedError if one is held or locked."""
    _decide(repository, Purge(points=list(points)), Standing.why_not_purged)


def pin_points(repository: Repository, points: Sequence[str]) -> None:
    """Keep points from every rule of retention."""
    _decide(repository, Pin(points=list(points)), lambda each, _now: "" if each.live else "in the trash")


def unpin_points(repository: Repository, points: Sequence[str]) -> None:
    """Let retention judge points again."""
    _decide(repository, Unpin(points=list(points)), lambda each, _now: "" if each.pinned else "not pinned")


def hold_points(repository: Repository, points: Sequence[str], reason: str = "") -> None:
    """Keep points from being deleted by anybody until they are released."""
    body = Hold(points=list(points), hold=secrets.token_hex(8), reason=reason)
    _decide(repository, body, lambda _each, _now: "")


def release_points(repository: Repository, points: Sequence[str]) -> None:
    """End every hold on points that persons put there. Others stay: a restore may be at work, a machine run from it."""

    def why_not(each: Standing, _now: datetime) -> str:
        if persons_holds(each):
            return ""
        return "held by a machine that runs from it" if tenants_holds(each) else "not held"

    _release(repository, points, persons_holds, why_not)


def evict_tenants(repository: Repository, points: Sequence[str]) -> None:
    """End the holds of machines that ran from points and are gone; one that is not gone may lose its disks."""
    _release(repository, points, tenants_holds, lambda each, _now: "" if tenants_holds(each) else "not held so")


def _release(
    repository: Repository, points: Sequence[str], which: Callable[[Standing], list[str]], why_not: WhyNot
) -> None:
    def make(state: State, now: datetime) -> Body:
        standings = _allowed(state, now, points, why_not)
        return Release(points=list(points), holds=sorted({hold for standing in standings for hold in which(standing)}))

    repository.log.append(make)


def lock_points(repository: Repository, points: Sequence[str], until: datetime) -> None:
    """Keep points from being deleted by anybody before a time. Nobody can take that back.

    Where the store locks, it locks what they need first. Raises what it raises: then no entry says they are locked, or
    its last step is missing. Locking again goes on where it ended.
    """

    def why_not(each: Standing, now: datetime) -> str:
        if until <= now:
            return "not to be locked until a time that is over"
        longer = each.locked_until is not None and each.locked_until > until
        return f"locked until {each.locked_until} already, and a lock is never made shorter" if longer else ""

    body = Lock(points=list(points), until=until)
    if repository.locking.weakness:
        _decide(repository, body, why_not)
        return
    while not _locked_in_store(repository, body, why_not):
        pass
    repository.locking.secure_log(until)
    repository.locking.remember(points, until)


def _locked_in_store(repository: Repository, body: Lock, why_not: WhyNot) -> bool:
    """Lock in the store, then by an entry; False if a collection took something of what was locked meanwhile."""
    standings = _allowed(repository.state(), repository.log.clock(), body.points, why_not)
    secured = repository.locking.secure_points([each.point for each in standings], body.until)

    def make(state: State, now: datetime) -> Body:
        _allowed(state, now, body.points, why_not)
        if not secured.holds(state):
            raise _CollectedMeanwhileError
        return body

    try:
        repository.log.append(make)
    except _CollectedMeanwhileError:
        return False
    return True


class _CollectedMeanwhileError(Exception):
    """Something that the points need is elsewhere now."""


def _decide(repository: Repository, body: PointDecision, why_not: WhyNot) -> None:
    """Take a decision about points, for each of which nothing speaks against it."""

    def make(state: State, now: datetime) -> Body:
        _allowed(state, now, body.points, why_not)
        return body

    repository.log.append(make)


def _allowed(state: State, now: datetime, points: Iterable[str], why_not: WhyNot) -> list[Standing]:
    """The points' standings. Raises RefusedError if something speaks against deciding, NotFoundError if one is gone."""
    standings = []
    for point in points:
        standing = state.standings.get(point)
        if standing is None:
            raise NotFoundError(f"point {point} has been purged meanwhile", code="no-such-point")
        if why := why_not(standing, now):
            machine = standing.point.machine
            hint = how_holds_end(standing, now) if why.startswith("held") else _HINTS.get(why, "")
            raise RefusedError(f"point {point} of {machine} is {why}", hint=hint, code="point-state")
        standings.append(standing)
    return standings


def _why_not_undeleted(standing: Standing, _now: datetime) -> str:
    return "not in the trash" if standing.live else ""
