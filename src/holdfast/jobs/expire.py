"""Expire: what rules say goes to the trash, and what has been there for long enough goes for good.

A plan first, then one decision in the log that says the same on the newest state: nothing happens that was not in the
plan, and nothing that somebody has forbidden meanwhile.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

from holdfast.core.errors import ConflictError
from holdfast.core.point import RestorePoint
from holdfast.core.retention import (
    Candidate,
    PurgeVerdict,
    RetentionPlan,
    Rule,
    Trashed,
    plan_purge,
    plan_retention,
)
from holdfast.repository import Repository, State
from holdfast.repository.decisions import Body, Forget, Purge


def plan_expiry(repository: Repository, rule: Rule, machines: Collection[str] | None = None) -> RetentionPlan:
    """Judge the live points, of these machines (ids) or of all, by a rule."""
    return _plan_expiry(repository.state(), repository.log.clock(), rule, machines)


def expire(repository: Repository, plan: RetentionPlan, rule: Rule) -> list[RestorePoint]:
    """Move to the trash what the plan drops and the rule still drops. Raises ConflictError if that is nothing."""
    machines = {verdict.point.machine_id for verdict in plan.verdicts}
    return _act_on(
        repository,
        plan.dropped,
        still=lambda state, now: _plan_expiry(state, now, rule, machines).dropped,
        body=lambda points: Forget(points=points, reason="retention"),
    )


def plan_trash(repository: Repository, older_than: timedelta) -> list[PurgeVerdict]:
    """Judge the trash: what has been in it for that long is to be purged."""
    return _plan_trash(repository.state(), repository.log.clock(), older_than)


def empty_trash(repository: Repository, plan: Iterable[PurgeVerdict], older_than: timedelta) -> list[RestorePoint]:
    """Purge what the plan purges and may still be purged. Raises ConflictError if that is nothing."""
    return _act_on(
        repository,
        _purged(plan),
        still=lambda state, now: _purged(_plan_trash(state, now, older_than)),
        body=lambda points: Purge(points=points),
    )


def _act_on(
    repository: Repository,
    planned: Sequence[RestorePoint],
    *,
    still: Callable[[State, datetime], Iterable[RestorePoint]],
    body: Callable[[list[str]], Body],
) -> list[RestorePoint]:
    """Decide about those of the planned points that the same plan, made on the newest state, names again."""
    acted: list[RestorePoint] = []

    def make(state: State, now: datetime) -> Body:
        named = {point.id for point in still(state, now)}
        acted[:] = [point for point in planned if point.id in named]
        if not acted:
            raise ConflictError("all that was planned to go is kept or gone by now", hint="look at the plan again")
        return body([point.id for point in acted])

    if planned:
        repository.log.append(make)
    return acted


def _plan_expiry(state: State, now: datetime, rule: Rule, machines: Collection[str] | None) -> RetentionPlan:
    candidates = [
        Candidate(point=standing.seen_at(now), protection=standing.why_not_forgotten(now))
        for standing in state.standings.values()
        if standing.live and (machines is None or standing.point.machine_id in machines)
    ]
    return plan_retention(candidates, rule, now)


def _plan_trash(state: State, now: datetime, older_than: timedelta) -> list[PurgeVerdict]:
    trash = [
        Trashed(point=each.seen_at(now), since=each.trashed_at, protection=each.why_kept(now))
        for each in state.standings.values()
        if each.trashed_at is not None
    ]
    return plan_purge(trash, older_than, now)


def _purged(plan: Iterable[PurgeVerdict]) -> list[RestorePoint]:
    return [verdict.trashed.point for verdict in plan if not verdict.stays]
