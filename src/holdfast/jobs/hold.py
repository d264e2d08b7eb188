"""Hold: while a point is read, nobody purges it, so nothing that it needs is collected."""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from holdfast.core.errors import ConflictError, DamagedError, HoldfastError, NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.repository import Repository, Standing, State
from holdfast.repository.decisions import Hold, Release
from holdfast.repository.state import Holding

_LONGEST_READ: Final = timedelta(days=7)
"""A hold ends by itself after this, since a reader may die, and one without the signing key cannot release it."""
_RENEWAL: Final = timedelta(days=1)
"""Who reads for longer holds on; a storage that is out of reach for some days does not matter."""

_TENANT: Final = "runs-"
"""How the names of holds begin by which machines hold what they run from."""
_RUNS_FROM_IT: Final = " runs from it"


@contextmanager
def held(repository: Repository, point: RestorePoint, progress: Progress) -> Iterator[None]:
    """Hold a point until the context ends. Raises NotFoundError if it is purged by now.

    Where nothing can be written, on a read-only medium for instance, it is read without a hold: then a restore may end
    with a ConflictError, since its point was collected meanwhile, never with wrong bytes.
    """
    with all_held(repository, [point], progress):
        require_not_purged(repository, point)
        try:
            yield
        except DamagedError as error:
            if point.id in repository.state().standings:
                raise
            raise ConflictError(
                f"point {point.id} of {point.machine} was purged and collected while it was read",
                hint="restore another point; one that is held or locked is not purged",
                code="collected-meanwhile",
            ) from error


@contextmanager
def all_held(repository: Repository, points: Sequence[RestorePoint], progress: Progress) -> Iterator[None]:
    """Hold those of the points that are not purged by now, by one entry of the log, until the context ends.

    Where nothing can be written they are not held.
    """
    name = _hold(repository, points, progress) if points else None
    if not name:
        yield
        return
    try:
        with _renewed(repository, points, name, _RENEWAL):
            yield
    finally:
        if repository.log.signer.may_sign:
            with suppress(HoldfastError):  # it ends by itself
                repository.log.append(lambda state, _now: Release(points=_standing(points, state), holds=[name]))


@contextmanager
def kept(
    repository: Repository, point: RestorePoint, name: str, reason: str, is_over: Callable[[], bool], progress: Progress
) -> Iterator[None]:
    """Hold a point by the hold `name`, whoever made it; with the context it ends only if `is_over` then.

    Whatever else ends us, the hold stays, however long. Raises NotFoundError if the point is purged by now.
    """
    require_not_purged(repository, point)
    if name not in repository.state().standings[point.id].holds:
        hold = Hold(points=[point.id], hold=name, reason=reason)
        try:
            repository.log.append(lambda _state, _now: hold)
        except HoldfastError as error:
            progress.warning(f"point {point.id} is not held: {error.message}; nobody may delete it meanwhile")
    try:
        yield
    finally:
        if is_over() and repository.log.signer.may_sign:
            with suppress(HoldfastError):  # a person can end it
                repository.log.append(lambda state, _now: Release(points=_standing([point], state), holds=[name]))


def tenants_hold(identity: UUID) -> str:
    """The name of the hold on a point from which a machine runs."""
    return f"{_TENANT}{identity.hex[:16]}"


def reason_of_tenant(machine: str) -> str:
    """Why that point is held."""
    return f"{machine}{_RUNS_FROM_IT}"


def tenants_holds(standing: Standing) -> list[str]:
    """The names of holds by machines that run from a point."""
    return [name for name in standing.holds if name.startswith(_TENANT)]


def persons_holds(standing: Standing) -> list[str]:
    """The names of holds on a point that last until a person releases them."""
    mine = standing.holds.items()
    return [name for name, hold in mine if hold.until is None and not name.startswith(_TENANT)]


def how_holds_end(standing: Standing, now: datetime) -> str:
    """What to do about the holds on a point. What a machine runs from must not be released under it."""
    return "; ".join(dict.fromkeys(_how_to_end(name, hold) for name, hold in standing.holds_at(now).items()))


def _how_to_end(name: str, hold: Holding) -> str:
    if hold.until is not None:
        return "it is being read: wait, or end what reads it, which `holdfast mount list` may show"
    if name.startswith(_TENANT):
        machine = hold.reason.removesuffix(_RUNS_FROM_IT)
        return f"{hold.reason}: holdfast mount finalize {machine}, or holdfast mount remove {machine}"
    return "holdfast point hold --release, if whoever held it agrees"


def require_not_purged(repository: Repository, point: RestorePoint) -> None:
    """Raise NotFoundError if the point was purged before it could be held."""
    if point.id in repository.log.state.purged:
        raise NotFoundError(f"point {point.id} of {point.machine} was purged meanwhile", code="no-such-point")


def _hold(repository: Repository, points: Sequence[RestorePoint], progress: Progress) -> str | None:
    """The id of a new hold on the points; None if all are purged, or where nothing can be written."""
    name = secrets.token_hex(8)
    try:
        _hold_on(repository, points, name)
    except _AllPurgedError:
        return None
    except HoldfastError as error:
        what = f"point {points[0].id}" if len(points) == 1 else f"what {len(points)} points need"
        progress.step(f"Reading {what} without holding it: {error.message}")
        return None
    return name


def _hold_on(repository: Repository, points: Sequence[RestorePoint], name: str) -> None:
    """Hold the points from now on, or for longer."""

    def make(state: State, now: datetime) -> Hold:
        standing = _standing(points, state)
        if not standing:
            raise _AllPurgedError("there is nothing left to hold")
        return Hold(points=standing, hold=name, until=now + _LONGEST_READ, reason="being read")

    repository.log.append(make)


def _standing(points: Sequence[RestorePoint], state: State) -> list[str]:
    """The ids of those that have not been purged."""
    return [point.id for point in points if point.id in state.standings]


@contextmanager
def _renewed(repository: Repository, points: Sequence[RestorePoint], name: str, every: timedelta) -> Iterator[None]:
    """Within, the hold is made longer again and again."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(every.total_seconds()):
            with suppress(HoldfastError):  # there is another time
                _hold_on(repository, points, name)

    thread = threading.Thread(target=renew, name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _AllPurgedError(NotFoundError):
    """No point is left; a storage that lacks something else raises its own kind."""
