"""Restore: a stored disk's segments onto a target, read in the order of the packs, written where they belong."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from holdfast.core.errors import DamagedError
from holdfast.core.point import PointDisk
from holdfast.core.ports import TargetDisk
from holdfast.core.progress import Progress
from holdfast.mover.fetching import Fetcher, plan_fetches
from holdfast.mover.pool import Shared, run_threads
from holdfast.repository import BlockMissingError, Layout, ReadRun, Repository, StoredDisk

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
    assert target.left_over is None, "what it holds would stay where the disk has zeros"
    with opening(repository, disk) as stored:
        return _Restore(repository, disk, stored, target, progress).run()


@contextmanager
def opening(repository: Repository, disk: PointDisk) -> Iterator[StoredDisk]:
    """A point's disk, to be read within. Raises DamagedError that names it if its map of blocks is damaged."""
    repository.records.load_index()
    try:
        stored = repository.open_disk(disk.root)
        if stored.size_bytes != disk.size_bytes:
            message = f"disk {disk.name}: its tree is of {stored.size_bytes} bytes, its point says {disk.size_bytes}"
            raise DamagedError(message, hint="run `holdfast repository check`", code="not-a-node")
        yield stored
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
        run_threads("mover", Shared(self._runs()), self._work_off, spare=2)  # writes are waited for
        self._progress.advance(self._disk.size_bytes, self._disk.size_bytes)
        return RestoreOutcome(read_bytes=self._read_bytes, written_bytes=self._written_bytes)

    def _runs(self) -> Iterator[ReadRun | Layout]:
        """What is to be read, planned a window of the disk at a time, by whichever thread comes first."""
        for window in self._windows():
            self._target.reserve(window.extents())
            yield from plan_fetches(self._repository, window)

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
        fetcher = Fetcher(self._repository, self._disk.name)
        with closing(self._target.open_writer()) as writer:
            for work in shared:
                for stretch in fetcher.fetch(work):
                    writer.write(stretch.start, *stretch.pieces)
                    self._count(written=stretch.length)
        self._count(read=fetcher.read_bytes)

    def _count(self, *, read: int = 0, written: int = 0, skipped: int = 0) -> None:
        with self._counting:
            self._read_bytes += read
            self._written_bytes += written
            self._skipped_bytes += skipped
            behind = self._written_bytes + self._skipped_bytes
        self._progress.advance(behind, self._disk.size_bytes)
