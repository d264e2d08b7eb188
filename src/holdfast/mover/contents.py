"""The bytes of files inside stored disks, in order, read ahead by threads in large blocks.

Where a file system says on which bytes of the disks a file lies, they are read from the repository at once; the process
that parses the file system only computes what must be computed.
"""

import mmap
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Final, NamedTuple

from holdfast.core.ahead import results_ahead
from holdfast.filesystems import Entry, Inspection

_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Of the disk, from a multiple of it on: a repository cuts what it stores there, so that nothing is opened twice."""
_READERS: Final = 3
_AHEAD: Final = 6


class Piece(NamedTuple):
    """Bytes of a file from `start` on; without `content` they are zeros. It is good until the next one is asked for."""

    start: int
    length: int
    content: bytes | memoryview | None


class _Task(NamedTuple):
    """A piece to be read from a disk; from the parser if it is None."""

    start: int
    length: int
    disk: int | None
    offset: int


def read_pieces(inspection: Inspection, file: Entry) -> Iterator[Piece]:
    """All of a file, in order. Raises what the inspection and its disks raise."""
    if file.size <= _BLOCK_BYTES // 8:  # not worth the question where it is
        if file.size:
            yield Piece(0, file.size, inspection.read(file.path, 0, file.size))
        return
    buffers = [memoryview(mmap.mmap(-1, min(_BLOCK_BYTES, file.size))) for _ in range(_AHEAD + 1)]
    work = zip(_tasks(inspection, file), cycle(buffers), strict=False)  # one that comes round again has been taken
    yield from results_ahead("contents", partial(_read, inspection, file), work, threads=_READERS, ahead=_AHEAD)


def _tasks(inspection: Inspection, file: Entry) -> Iterator[_Task]:
    runs = inspection.runs(file.path, file.size)
    if runs is None:
        for start in range(0, file.size, _BLOCK_BYTES):
            yield _Task(start, min(_BLOCK_BYTES, file.size - start), None, 0)
        return
    for run in runs:
        if run.disk is None:
            yield _Task(run.start, run.length, None, -1)
            continue
        at = run.offset
        while at < run.offset + run.length:
            length = min(_BLOCK_BYTES - at % _BLOCK_BYTES, run.offset + run.length - at)
            yield _Task(run.start + at - run.offset, length, run.disk, at)
            at += length


def _read(inspection: Inspection, file: Entry, work: tuple[_Task, memoryview]) -> Piece:
    task, buffer = work
    if task.disk is None:
        computed = None if task.offset < 0 else inspection.read(file.path, task.start, task.length)
        return Piece(task.start, task.length, computed)
    content = buffer[: task.length]
    inspection.devices[task.disk].read_into(task.offset, content)
    return Piece(task.start, task.length, content)
