"""What files changed between two points of a machine.

by inodes   the disks' trees say which bytes changed; the inodes in them, whose bytes differ, are what may have
            changed; the names of one tree are walked, and of the other only directories that may have changed
by walks    both trees are walked with all attributes, where a file system does not tell its inodes
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from holdfast.core.extents import Extent, intersect
from holdfast.core.point import RestorePoint
from holdfast.filesystems import Entry, FileRun, Inspection, Wanted
from holdfast.jobs.files import FileInfo, looked_into, walked
from holdfast.repository import Repository

Method = Literal["inodes", "walks"]
Change = Literal["added", "removed", "changed"]
Touched = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path that is not what it was. `before` and `after` are None where there was, or is, nothing."""

    path: str
    change: Change
    before: FileInfo | None
    after: FileInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """All of them by path, and how they were found."""

    method: Method
    changes: Sequence[FileChange]


def compare_files(
    repository: Repository, before: RestorePoint, after: RestorePoint, path: bytes, wanted: Wanted
) -> FileDifference:
    """Compare everything at and below a path. Raises as `looked_into` does, and NotFoundError if neither has it."""
    with ExitStack() as lasting:
        old = lasting.enter_context(looked_into(repository, before, wanted))
        new = lasting.enter_context(looked_into(repository, after, wanted))
        ranges = _changed_ranges(repository, before, after)
        touched = _touched(old, new, ranges)
        changed = {
            disk: [Extent(start, end) for number, start, end in ranges or () if number == disk]
            for disk in range(len(new.devices))
        }
        comparison = _Comparison(old, new, touched, changed)
        changes = sorted(comparison.at(path), key=lambda change: change.path)
    return FileDifference(method="walks" if touched is None else "inodes", changes=changes)


def _changed_ranges(
    repository: Repository, before: RestorePoint, after: RestorePoint
) -> list[tuple[int, int, int]] | None:
    """The bytes in which the disks differ; None if these are not the same disks."""
    if [(disk.name, disk.size_bytes) for disk in before.disks] != [
        (disk.name, disk.size_bytes) for disk in after.disks
    ]:
        return None
    return [
        (number, start, end)
        for number, (old, new) in enumerate(zip(before.disks, after.disks, strict=True))
        for start, end in repository.open_disk(new.root).extents_changed_since(repository.open_disk(old.root))
    ]


def _touched(old: Inspection, new: Inspection, ranges: Sequence[tuple[int, int, int]] | None) -> Touched | None:
    """The inodes that differ; None if that cannot be told, or not for the same volumes."""
    if ranges is None or _volumes(old) != _volumes(new):
        return None
    before, after = old.touched(ranges), new.touched(ranges)
    if before is None or after is None:
        return None
    return frozenset(inode for inode in before.keys() | after.keys() if before.get(inode) != after.get(inode))


def _volumes(inspection: Inspection) -> list[tuple[object, ...]]:
    return [(each.name, each.uuid, each.mounted_at, each.size_bytes) for each in inspection.opened.volumes]


class _Comparison:
    """One comparison. Without `touched` everything may have changed."""

    def __init__(
        self, old: Inspection, new: Inspection, touched: Touched | None, changed: Mapping[int, Sequence[Extent]]
    ) -> None:
        self._old = old
        self._new = new
        self._touched = touched
        self._changed = changed

    def at(self, path: bytes) -> Iterator[FileChange]:
        """What changed at and below a path."""
        old, new = self._old.look(path, follow=True), self._new.look(path, follow=True)
        yield from self._both(old, new)

    def _both(self, old: Entry, new: Entry) -> Iterator[FileChange]:
        if old.kind != new.kind:
            yield from self._gone(old)
            yield from self._come(new)
            return
        if self._may_differ(old, new):
            yield from self._compared(old.path, new.path)
        if new.kind == "dir":
            yield from self._below(old, new)

    def _may_differ(self, old: Entry, new: Entry) -> bool:
        if self._touched is None or (old.volume, old.number) != (new.volume, new.number) or not new.number:
            return True
        return (new.volume, new.number) in self._touched

    def _compared(self, old_path: bytes, new_path: bytes) -> Iterator[FileChange]:
        old, new = self._old.look(old_path), self._new.look(new_path)
        before, after = FileInfo.of(old), FileInfo.of(new)
        if before != after or (new.kind == "file" and self._content_differs(old, new)):
            yield FileChange(path=after.path, change="changed", before=before, after=after)

    def _content_differs(self, old: Entry, new: Entry) -> bool:
        """Of files that look alike: whether their bytes lie elsewhere, or where something changed."""
        if self._touched is None or not new.size:
            return False
        before, after = self._old.runs(old.path, old.size), self._new.runs(new.path, new.size)
        if before is None or after is None:
            return before != after or self._old.read(old.path, 0, old.size) != self._new.read(new.path, 0, new.size)
        return before != after or any(self._has_changed(run) for run in after)

    def _lies_in_changes(self, directory: Entry) -> bool:
        """Whether a directory's own blocks changed: every system then changes its inode too, but not every tool."""
        return any(self._has_changed(run) for run in self._new.runs(directory.path, None) or ())

    def _has_changed(self, run: FileRun) -> bool:
        if run.disk is None:
            return False
        return any(intersect(self._changed.get(run.disk, ()), [Extent(run.offset, run.offset + run.length)]))

    def _below(self, old: Entry, new: Entry) -> Iterator[FileChange]:
        after = self._entries(self._new, new.path)
        same = old.path == new.path and not self._may_differ(old, new) and not self._lies_in_changes(new)
        before = after if same else self._entries(self._old, old.path)
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                yield from self._gone(before[name])
            elif name not in before:
                yield from self._come(after[name])
            else:
                yield from self._both(before[name], after[name])

    def _entries(self, inspection: Inspection, path: bytes) -> Mapping[bytes, Entry]:
        entries = inspection.entries(path, attributes=self._touched is None)
        return {entry.path.rpartition(b"/")[2]: entry for entry in entries}

    def _gone(self, top: Entry) -> Iterator[FileChange]:
        for entry in _everything(self._old, top):
            found = FileInfo.of(entry)
            yield FileChange(path=os.fsdecode(entry.path), change="removed", before=found, after=None)

    def _come(self, top: Entry) -> Iterator[FileChange]:
        for entry in _everything(self._new, top):
            found = FileInfo.of(entry)
            yield FileChange(path=os.fsdecode(entry.path), change="added", before=None, after=found)


def _everything(inspection: Inspection, top: Entry) -> Iterator[Entry]:
    yield inspection.look(top.path)
    if top.kind == "dir":
        yield from walked(inspection, top, attributes=True)
