"""Protect in several repositories at once: the machine is read into one of them, the others get copies of the point.

The machine lends its disks only as long as the first takes to store them: a slow repository far away holds no capture
open, and no scratch space. If one cannot take the machine, the next one does.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.progress import Progress
from holdfast.jobs.copy import copy_planned, plan_copy
from holdfast.jobs.results import BackupResult
from holdfast.mover import Care
from holdfast.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A machine is protected in `repository`. Those in `failed` could not take it, `others` still lack the point."""

    result: BackupResult
    repository: Repository
    failed: Sequence[tuple[Repository, HoldfastError]]
    others: Sequence[Repository]


def protect_in_first(repositories: Sequence[Repository], protect: Callable[[Repository], BackupResult]) -> Taken:
    """Protect in the first repository that can take the machine.

    Raises what the last one's backup raised if none can, and at once what no other repository would change.
    """
    failed: list[tuple[Repository, HoldfastError]] = []
    for number, repository in enumerate(repositories):
        try:
            result = protect(repository)
        except UsageError:
            raise
        except HoldfastError as error:
            if repository is repositories[-1]:
                raise
            failed.append((repository, error))
        else:
            return Taken(result=result, repository=repository, failed=failed, others=repositories[number + 1 :])
    raise AssertionError  # there is at least one


def bring_along(taken: Taken, target: Repository, *, care: Care, progress: Progress) -> BackupResult:
    """Copy the new point to another repository; the result is that of a backup into it which read nothing itself.

    Raises what either repository raises: the point stays where it is.
    """
    began = time.monotonic()
    source, result = taken.repository, taken.result
    (point,) = [point for point in source.points() if point.id == result.point]
    plan = plan_copy(source, target, [point])
    copies = [
        copy_planned(source, target, each, method=plan.method, care=care, progress=progress) for each in plan.points
    ]
    return replace(
        result,
        repository=target.storage.url,
        seconds=round(time.monotonic() - began, 3),
        read_bytes=0,
        proved_bytes=0,
        sent_bytes=sum(copy.sent_bytes for copy in copies if copy),
        stored_bytes=sum(copy.stored_bytes for copy in copies if copy),
        disks=tuple(replace(disk, read_bytes=0) for disk in result.disks),
        locked_until=next((copy.locked_until for copy in copies if copy), None),
        warnings=tuple(text for copy in copies if copy for text in copy.warnings),
    )
