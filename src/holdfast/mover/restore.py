"""Restore: a stored disk's segments onto a target, read in the order of the packs, written where they belong."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent
from holdfast.core.point import PointDisk
from holdfast.core.ports import BlockWriter, TargetDisk
from holdfast.core.progress import Progress
from holdfast.mover.pool import Shared, run_threads
from holdfast.repository import BlockMissingError, ReadRun, Repository, StoredDisk

_WINDOW_BYTES: Final = 1024 * 1024 * 1024
"""Plain bytes planned at once: wide enough to read a pack once, narrow enough to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOutcome:
    """Bytes read from the repository's packs, and bytes written to the target."""

    read_bytes: int
    written_bytes: int


@dataclass(slots=True)
class _Window:
    """A stretch of the disk from byte `start` on: its segments, and the extents that each of them fills."""

    start: int
    end: int = 0
    planned_bytes: int = 0
    written_bytes: int = 0
    places: dict[bytes, list[Extent]] = field(default_factory=dict)

    def add(self, segment: bytes, place: Extent) -> None:
        """Plan one extent more; they come in the order of the disk."""
        self.places.setdefault(segment, []).append(place)
        self.planned_bytes += place.length
        self.end = place.end

    @property
    def position(self) -> int:
        """About how far into the disk the work has come."""
        return self.start + (self.end - self.start) * self.written_bytes // max(1, self.planned_bytes)


def restore_disk(repository: Repository, disk: PointDisk, target: TargetDisk, *, progress: Progress) -> RestoreOutcome:
    """Write all that is not zero of a stored disk to a target that is all zeros.

    Every byte is proved by its id before it is written. Does not call `target.finish`. Raises DamagedError naming disk
    and range if no good copy of a block is left, or what the target raises.
    """
    repository.records.load_index()
    try:
        stored = repository.open_disk(disk.root)
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

    def run(self) -> RestoreOutcome:
        self._progress.step(f"Restoring {self._disk.name}")
        for window in self._windows():
            self._restore_window(window)
        self._progress.advance(self._disk.size_bytes, self._disk.size_bytes)
        return RestoreOutcome(read_bytes=self._read_bytes, written_bytes=self._written_bytes)

    def _windows(self) -> Iterator[_Window]:
        """The disk, some of it at a time."""
        window = _Window(0)
        for region, leaf in self._stored.leaves():
            for piece in self._stored.pieces(leaf):
                window.add(piece.id, self._stored.extent(region, piece))
            if window.planned_bytes >= _WINDOW_BYTES:
                yield window
                window = _Window(window.end)
        if window.places:
            yield window

    def _restore_window(self, window: _Window) -> None:
        runs, lost = self._repository.records.plan(list(window.places))

        def work_off(shared: Shared[ReadRun]) -> None:
            with closing(self._target.open_writer()) as writer:
                for run in shared:
                    self._restore_run(run, window, writer)

        run_threads("mover", Shared(runs), work_off)
        if lost:
            with closing(self._target.open_writer()) as writer:
                self._restore_one_by_one(lost, window, writer)

    def _restore_run(self, run: ReadRun, window: _Window, writer: BlockWriter) -> None:
        key = self._repository.keys.data_id_key
        damaged = []
        for segment, plain in self._repository.records.read_run(run, key):
            if plain is None:
                damaged.append(segment)
            else:
                self._write(plain, segment, window, writer)
        with self._counting:
            self._read_bytes += run.end - run.start
        self._restore_one_by_one(damaged, window, writer)
        self._progress.advance(window.position, self._disk.size_bytes)

    def _restore_one_by_one(self, segments: Iterable[bytes], window: _Window, writer: BlockWriter) -> None:
        """What the fast road could not bring: from any other copy, or an error that says what is lost."""
        for segment in segments:
            try:
                plain = self._repository.records.read(segment, self._repository.keys.data_id_key)
            except BlockMissingError as error:
                at = window.places[segment][0]
                message = f"disk {self._disk.name}, bytes {at.start} to {at.end}: {error.message}"
                raise DamagedError(message, hint=error.hint, code=error.code) from error
            self._write(memoryview(plain), segment, window, writer)

    def _write(self, plain: memoryview, segment: bytes, window: _Window, writer: BlockWriter) -> None:
        written = 0
        for place in window.places[segment]:
            writer.write(place.start, plain[: place.length])
            written += place.length
        with self._counting:
            self._written_bytes += written
            window.written_bytes += written
