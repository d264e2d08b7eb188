"""Deleting points and collecting what only they needed."""

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import CollectionPlan, CollectionReport, Repository
from holdfast.repository.decisions import Forget, Purge
from tests.support.decisions import decide
from tests.support.repositories import reopened


def forget(repository: Repository, *points: RestorePoint) -> None:
    decide(repository.log, Forget(points=[point.id for point in points]))


def purge(repository: Repository, *points: RestorePoint) -> None:
    """Through the trash and out of it."""
    forget(repository, *points)
    decide(repository.log, Purge(points=[point.id for point in points]))
    assert not {point.id for point in points} & repository.state().standings.keys()


def collect(repository: Repository) -> CollectionReport:
    """By somebody who knows nothing yet."""
    return reopened(repository).collector(Silence()).run()


def plan_of(repository: Repository) -> CollectionPlan:
    return reopened(repository).collector(Silence()).plan()
