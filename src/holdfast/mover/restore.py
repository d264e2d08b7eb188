"""Restore: a stored disk's segments onto a target, read in the order of the packs, written where they belong."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
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


def restore_disk(repository: Repository, disk: PointDisk, target: TargetDisk, *, progress: Progress) -> RestoreOutcome:
    """Write all that is not zero of a stored disk to a target that is all zeros.

    Every byte is proved by its id before it is written. Does not call `target.finish`. Raises DamagedError naming disk
    and range if no good copy of a block is left, or what the target raises.
    """
    repository.records.load_index()
    stored = repository.open_disk(disk.root)
    return _Restore(repository, disk, stored, target, progress).run()


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
        for wanted in self._windows():
            self._restore_window(wanted)
        return RestoreOutcome(read_bytes=self._read_bytes, written_bytes=self._written_bytes)

    def _windows(self) -> Iterator[dict[bytes, list[Extent]]]:
        """Segments and where they belong, some of the disk at a time."""
        wanted: dict[bytes, list[Extent]] = defaultdict(list)
        planned = 0
        for region, leaf in self._stored.leaves():
            for piece in self._stored.pieces(leaf):
                held = self._stored.extent(region, piece)
                assert piece.id is not None
                wanted[piece.id].append(held)
                planned += held.length
            if planned >= _WINDOW_BYTES:
                yield wanted
                wanted, planned = defaultdict(list), 0
        if wanted:
            yield wanted

    def _restore_window(self, wanted: dict[bytes, list[Extent]]) -> None:
        runs, lost = self._repository.records.plan(list(wanted))

        def work_off(shared: Shared[ReadRun]) -> None:
            with closing(self._target.open_writer()) as writer:
                for run in shared:
                    self._restore_run(run, wanted, writer)

        run_threads("mover", Shared(runs), work_off)
        with closing(self._target.open_writer()) as writer:
            self._restore_one_by_one(lost, wanted, writer)

    def _restore_run(self, run: ReadRun, wanted: dict[bytes, list[Extent]], writer: BlockWriter) -> None:
        key = self._repository.keys.data_id_key
        damaged = []
        for segment, plain in self._repository.records.read_run(run, key):
            if plain is None:
                damaged.append(segment)
            else:
                self._write(plain, wanted[segment], writer)
        with self._counting:
            self._read_bytes += run.end - run.start
        self._restore_one_by_one(damaged, wanted, writer)
        self._progress.advance(self._written_bytes, self._disk.size_bytes)

    def _restore_one_by_one(
        self, segments: Iterable[bytes], wanted: dict[bytes, list[Extent]], writer: BlockWriter
    ) -> None:
        """What the fast road could not bring: from any other copy, or an error that says what is lost."""
        for segment in segments:
            try:
                plain = self._repository.records.read(segment, self._repository.keys.data_id_key)
            except BlockMissingError as error:
                at = wanted[segment][0]
                message = f"disk {self._disk.name}, bytes {at.start} to {at.end}: {error.message}"
                raise DamagedError(message, hint=error.hint, code=error.code) from error
            self._write(memoryview(plain), wanted[segment], writer)

    def _write(self, plain: memoryview, places: Iterable[Extent], writer: BlockWriter) -> None:
        written = 0
        for place in places:
            writer.write(place.start, plain[: place.length])
            written += place.length
        with self._counting:
            self._written_bytes += written
