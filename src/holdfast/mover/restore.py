"""Restore: a stored disk's segments onto a target, read in the order of the packs, written where they belong."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.core.errors import DamagedError
from holdfast.core.point import PointDisk
from holdfast.core.ports import BlockWriter, TargetDisk
from holdfast.core.progress import Progress
from holdfast.mover.pool import Shared, run_threads
from holdfast.repository import BlockMissingError, Layout, ReadRun, Repository, RunReader, StoredDisk, plan_reads

_WINDOW_BYTES: Final = 512 * 1024 * 1024
"""Plain bytes planned at once: wide enough to read a pack once, narrow enough to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOutcome:
    """Bytes read from the repository's packs, and bytes written to the target."""

    read_bytes: int
    written_bytes: int


def restore_disk(repository: Repository, disk: PointDisk, target: TargetDisk, *, progress: Progress) -> RestoreOutcome:
    """Write all that is not zero of a stored disk to a target that is all zeros.

    Every byte is proved by its id before it is written. Does not call `target.finish`. Raises DamagedError naming disk
    and range if no good copy of a block is left, or what the target raises.
    """
    repository.records.load_index()
    try:
        stored = repository.open_disk(disk.root)
        if stored.size_bytes != disk.size_bytes:
            message = f"disk {disk.name}: its tree is of {stored.size_bytes} bytes, its point says {disk.size_bytes}"
            raise DamagedError(message, hint="run `holdfast repository check`", code="not-a-node")
        return _Restore(repository, disk, stored, target, progress).run()
    except BlockMissingError as error:
        message = f"disk {disk.name}: its map of blocks is damaged: {error.message}"
        raise DamagedError(message, hint=error.hint, code=error.code) from error


class _Restore:
    """One run of `restore_disk`."""

    def __init__(
        self, repository: Repository, disk: PointDisk, stored: StoredDisk, target: TargetDisk, progress: Progress
    ) -> None:
        self._repository = repository
        self._disk = disk
        self._stored = stored
        self._target = target
        self._progress = progress
        self._counting = threading.Lock()
        self._read_bytes = 0
        self._written_bytes = 0
        self._skipped_bytes = 0

    def run(self) -> RestoreOutcome:
        self._progress.step(f"Restoring {self._disk.name}")
        run_threads("mover", Shared(self._runs()), self._work_off, spare=2)  # writes are waited for
        self._progress.advance(self._disk.size_bytes, self._disk.size_bytes)
        return RestoreOutcome(read_bytes=self._read_bytes, written_bytes=self._written_bytes)

    def _runs(self) -> Iterator[ReadRun | Layout]:
        """What is to be read: in runs, and, one by one, what has no place in the index.

        Planned a window of the disk at a time, by whichever thread comes first, while the others still work.
        """
        for window in self._windows():
            self._target.reserve(window.extents())
            runs, lost = plan_reads(self._repository.records.index, window)
            yield from runs
            if len(lost.ids):
                yield lost

    def _windows(self) -> Iterator[Layout]:
        """The disk, some of it at a time; what lies between segments is zeros and behind us at once."""
        parts: list[Layout] = []
        planned_bytes = begin = 0
        for part in self._stored.layouts():
            parts.append(part)
            planned_bytes += int(part.lengths.sum())
            if planned_bytes >= _WINDOW_BYTES:
                end = int(part.starts[-1] + part.lengths[-1])
                self._count(skipped=end - begin - planned_bytes)
                yield Layout.joined(parts)
                parts, planned_bytes, begin = [], 0, end
        if parts:
            yield Layout.joined(parts)

    def _work_off(self, shared: Shared[ReadRun | Layout]) -> None:
        reader = RunReader(self._repository.records, self._repository.keys.data_id_key)
        with closing(self._target.open_writer()) as writer:
            for work in shared:
                match work:
                    case ReadRun():
                        self._restore_run(work, reader, writer)
                    case Layout():
                        self._restore_one_by_one(work, writer)

    def _restore_run(self, run: ReadRun, reader: RunReader, writer: BlockWriter) -> None:
        damaged: list[int] = []
        for batch in reader.read(run):
            for start, content in batch.good:
                self._write(writer, start, content)
            damaged += batch.damaged
        self._count(read=run.end - run.start)
        if damaged:
            self._restore_one_by_one(run.layout.only(np.array(damaged)), writer)

    def _restore_one_by_one(self, layout: Layout, writer: BlockWriter) -> None:
        """What the fast road could not bring: from any other copy, or an error that says what is lost."""
        for segment, start, length in zip(*layout, strict=True):
            try:
                plain = self._repository.records.read(segment.tobytes(), self._repository.keys.data_id_key)
            except BlockMissingError as error:
                message = f"disk {self._disk.name}, bytes {start} to {start + length}: {error.message}"
                raise DamagedError(message, hint=error.hint, code=error.code) from error
            self._write(writer, int(start), memoryview(plain)[:length])

    def _write(self, writer: BlockWriter, start: int, content: memoryview) -> None:
        writer.write(start, content)
        self._count(written=len(content))

    def _count(self, *, read: int = 0, written: int = 0, skipped: int = 0) -> None:
        with self._counting:
            self._read_bytes += read
            self._written_bytes += written
            self._skipped_bytes += skipped
            behind = self._written_bytes + self._skipped_bytes
        self._progress.advance(behind, self._disk.size_bytes)
