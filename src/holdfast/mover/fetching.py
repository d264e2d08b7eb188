"""Segments from the repository for one thread: read in runs, and what a run could not bring from any other copy."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from holdfast.core.errors import DamagedError
from holdfast.repository import BlockMissingError, Layout, Plain, ReadRun, Repository, RunReader, plan_reads


def plan_fetches(repository: Repository, layout: Layout) -> Iterator[ReadRun | Layout]:
    """How to fetch a layout: in runs, in the order of the packs, and, one by one, what has no place in the index."""
    runs, lost = plan_reads(repository.records.index, layout)
    yield from runs
    if len(lost.ids):
        yield lost


class Stretch(NamedTuple):
    """Plain bytes in pieces, one behind the other on the disk from byte `start` on."""

    start: int
    pieces: Sequence[memoryview]

    @property
    def length(self) -> int:
        """In bytes."""
        return sum(map(len, self.pieces))


class Fetcher:
    """Fetches segments of the disk called `disk`. For one thread."""

    def __init__(self, repository: Repository, disk: str) -> None:
        self._records = repository.records
        self._id_key = repository.keys.data_id_key
        self._disk = disk
        self._runs = RunReader(self._records, self._id_key)
        self.read_bytes = 0

    def fetch(self, work: ReadRun | Layout) -> Iterator[Stretch]:
        """Plain bytes and where they belong, all proved by their ids and good until the next step.

        Raises DamagedError naming disk and range if no good copy of a block is left.
        """
        if isinstance(work, Layout):
            yield from self._one_by_one(work)
            return
        damaged: list[int] = []
        for batch in self._runs.read(work):
            yield from _stretches(batch.good)
            damaged += batch.damaged
        self.read_bytes += work.end - work.start
        if damaged:
            yield from self._one_by_one(work.layout.only(np.array(damaged)))

    def _one_by_one(self, layout: Layout) -> Iterator[Stretch]:
        """What the fast road could not bring: from any other copy, or an error that says what is lost."""
        for segment, start, length in zip(*layout, strict=True):
            try:
                plain = self._records.read(segment.tobytes(), self._id_key)
            except BlockMissingError as error:
                message = f"disk {self._disk}, bytes {start} to {start + length}: {error.message}"
                raise DamagedError(message, hint=error.hint, code=error.code) from error
            yield Stretch(int(start), [memoryview(plain)[:length]])


def _stretches(brought: Iterable[Plain]) -> Iterator[Stretch]:
    """Join what lies together on the disk: what an aged repository holds in many places is written in few."""
    start, pieces, end = 0, list[memoryview](), -1
    for plain in sorted(brought, key=lambda each: each.start):
        if plain.start != end and pieces:
            yield Stretch(start, pieces)
            pieces = []
        if not pieces:
            start = plain.start
        pieces.append(plain.content)
        end = plain.start + len(plain.content)
    if pieces:
        yield Stretch(start, pieces)
