"""Files of restore points: look into the disks of one, list, walk and find."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from holdfast.core.point import RestorePoint
from holdfast.filesystems import Entry, Inspection, Wanted
from holdfast.filesystems.contents import Kind
from holdfast.repository import Repository

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SAY_NOTHING: Final = {"xfs", "ntfs"}
"""File systems that do not say in one place whether they were in use; Windows marks only those that it found hurt."""
_UNASKED: Final = "the guest was not asked to write back; if it ran, changes of the last seconds may be missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file as listed: the fields are those of `--json`.

    `modified_at` is None for a time that no calendar has, `target` for what is no link. `problem` says why the rest is
    not known.
    """

    path: str
    type: Kind
    size_bytes: int
    mode: int
    uid: int
    gid: int
    modified_at: datetime | None
    target: str | None
    problem: str | None

    @classmethod
    def of(cls, entry: Entry) -> "FileInfo":
        """What the file system says of it."""
        return cls(
            path=os.fsdecode(entry.path),
            type=entry.kind,
            size_bytes=entry.size,
            mode=entry.mode & 0o7777,
            uid=entry.uid,
            gid=entry.gid,
            modified_at=_time(entry.modified_ns),
            target=None if entry.target is None else os.fsdecode(entry.target),
            problem=entry.problem or None,
        )


@contextmanager
def looked_into(repository: Repository, point: RestorePoint, wanted: Wanted) -> Iterator[Inspection]:
    """The files of a point, while the context lasts. The point is not held: a look is short, and writes nothing.

    Raises NotFoundError for a volume that there is not, RefusedError for one that cannot be read, FailedError.
    """
    repository.records.load_index()
    devices = {disk.name: repository.open_device(disk.root) for disk in point.disks}
    with Inspection(devices, wanted, f"{point.machine}@{point.id}") as inspection:
        yield inspection


def doubts(point: RestorePoint, inspection: Inspection) -> Iterator[str]:
    """What the user must know about what is shown: what is not, and why."""
    yield from inspection.opened.notes
    for volume in inspection.opened.volumes:
        if not volume.mounted_at:
            continue
        if volume.doubt is not None:
            yield f"point {point.id}, volume {volume.name}: {volume.doubt}"
        elif (volume.file_system in _SAY_NOTHING or volume.reader == "libguestfs") and point.consistency == "crash":
            yield f"point {point.id}, volume {volume.name}: {_UNASKED}"


def listed(inspection: Inspection, path: bytes) -> Iterator[Entry]:
    """What is at a path: a directory's entries, by name, or the file itself."""
    found = inspection.look(path)
    target = inspection.look(path, follow=True) if found.kind == "link" else found
    if target.kind != "dir":
        yield found
        return
    yield from sorted(inspection.entries(target.path), key=lambda entry: entry.path)


def walked(inspection: Inspection, top: Entry, *, attributes: bool) -> Iterator[Entry]:
    """Everything below a directory, directories before what they hold; each directory once, links are not followed."""
    todo, seen = [top], set[tuple[str, int]]()
    while todo:
        here = todo.pop()
        below = sorted(inspection.entries(here.path, attributes=attributes), key=lambda entry: entry.path)
        yield from below
        todo += [each for each in reversed(below) if each.kind == "dir" and _is_new(inspection, each, seen)]


def find_files(inspection: Inspection, path: bytes, pattern: str) -> Iterator[Entry]:
    """Files at and below a path whose name matches a pattern of the shell; with `/` in it, their whole path."""
    whole = "/" in pattern
    top = inspection.look(path, follow=True)
    below = walked(inspection, top, attributes=False) if top.kind == "dir" else iter([top])
    for entry in below:
        text = os.fsdecode(entry.path)
        if fnmatchcase(text if whole else text.rpartition("/")[2], pattern):
            yield entry if entry.problem else inspection.look(entry.path)


def _is_new(inspection: Inspection, directory: Entry, seen: set[tuple[str, int]]) -> bool:
    """Directories of a damaged file system may hold each other."""
    known = directory if directory.number else inspection.look(directory.path)
    identity = known.volume, known.number
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _time(nanoseconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
