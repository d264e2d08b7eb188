"""Points as commands are given them, and as they show them."""

from collections.abc import Sequence

from holdfast.core.point import RestorePoint
from holdfast.core.selection import ById, PointReference, select_point
from holdfast.repository import Repository


def choose_point(repository: Repository, reference: PointReference) -> RestorePoint:
    """The live point that is meant; by its id one in the trash too."""
    points = repository.points()
    if isinstance(reference.selector, ById):
        points += repository.trash()
    return select_point(points, reference, proven=repository.log.state.proven)


def choose_in_trash(repository: Repository, reference: PointReference) -> RestorePoint:
    """The point in the trash that is meant."""
    return select_point(repository.trash(), reference, proven=repository.log.state.proven)


def choose_points(repository: Repository, references: Sequence[PointReference]) -> list[RestorePoint]:
    """Every point that is meant, each once."""
    chosen = [choose_point(repository, reference) for reference in references]
    return list({point.id: point for point in chosen}.values())
