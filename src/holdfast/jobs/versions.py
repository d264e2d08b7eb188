"""Find files in many points: each version of a file once, with the points that hold it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.filesystems import Wanted
from holdfast.jobs.files import FileInfo, doubts, find_files, looked_into
from holdfast.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """A file as it was in `points` points of a machine that follow one another, from the first to the last of them.

    Two versions differ in what a listing shows: a file whose bytes change and whose time does not is one.
    """

    machine: str
    machine_id: str
    first_point: str
    last_point: str
    first_captured_at: datetime
    last_captured_at: datetime
    points: int
    file: FileInfo


def find_versions(
    repository: Repository,
    points: Sequence[RestorePoint],
    path: bytes,
    pattern: str,
    wanted: Wanted,
    progress: Progress,
) -> Iterator[FileVersion]:
    """The versions of all files at and below a path that match a pattern, machine by machine, oldest first.

    A point that cannot be looked into is told and left out; one whose disks are those of the point before is not
    looked into again.
    """
    ordered = sorted(points, key=lambda point: (point.machine, point.machine_id, point.captured_at))
    for _, of_machine in groupby(ordered, key=lambda point: point.machine_id):
        yield from _versions(_found(repository, of_machine, path, pattern, wanted, progress))


def _found(
    repository: Repository,
    points: Iterable[RestorePoint],
    path: bytes,
    pattern: str,
    wanted: Wanted,
    progress: Progress,
) -> Iterator[tuple[RestorePoint, Sequence[FileInfo]]]:
    before: tuple[object, Sequence[FileInfo]] = (None, ())
    for point in points:
        disks = [(disk.name, disk.root) for disk in point.disks]
        if before[0] != disks:
            try:
                with looked_into(repository, point, wanted) as inspection:
                    for doubt in doubts(point, inspection):
                        progress.warning(doubt)
                    before = disks, [FileInfo.of(entry) for entry in find_files(inspection, path, pattern)]
            except NotFoundError:  # it did not exist then
                before = disks, ()
            except HoldfastError as error:
                progress.warning(f"point {point.id} of {point.machine} is left out: {error.message}")
                continue
        yield point, before[1]


def _versions(found: Iterable[tuple[RestorePoint, Sequence[FileInfo]]]) -> Iterator[FileVersion]:
    """Ended as soon as a point has another one, or none."""
    standing: dict[str, FileVersion] = {}
    for point, files in found:
        now = {file.path: file for file in files}
        for path in [path for path, version in standing.items() if now.get(path) != version.file]:
            yield standing.pop(path)
        for path, file in now.items():
            standing[path] = _grown(standing.get(path), point, file)
    yield from standing.values()


def _grown(version: FileVersion | None, point: RestorePoint, file: FileInfo) -> FileVersion:
    if version is not None:
        points = version.points + 1
        return replace(version, points=points, last_point=point.id, last_captured_at=point.captured_at)
    return FileVersion(
        machine=point.machine,
        machine_id=point.machine_id,
        first_point=point.id,
        last_point=point.id,
        first_captured_at=point.captured_at,
        last_captured_at=point.captured_at,
        points=1,
        file=file,
    )
