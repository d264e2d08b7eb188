"""A stored disk from its begin to its end: read, proved and packed by many threads, put in order by one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import TypeVar

import numpy as np

from holdfast.core.appliance import StreamedDisk
from holdfast.core.extents import Extent
from holdfast.core.point import PointDisk
from holdfast.core.progress import Progress
from holdfast.mover.lent import StoredReader
from holdfast.mover.pool import worker_count
from holdfast.mover.restore import RestoreOutcome, opening
from holdfast.repository import Repository, StoredDisk

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")
_AHEAD = 2
"""Regions in memory for each thread."""


def stream_disk(repository: Repository, disk: PointDisk, target: StreamedDisk, *, progress: Progress) -> RestoreOutcome:
    """Write all grains of a stored disk that are not zeros. Raises DamagedError, and what the target raises."""
    progress.step(f"Exporting {disk.name}")
    read_bytes = written_bytes = 0
    with opening(repository, disk) as stored:
        packer = _Packer(repository, stored, target)
        regions = (packer.extent(number) for number, _ in stored.leaves())
        for extent, grains in _in_order(packer.pack, regions):
            for number, packed in grains:
                target.put(number, packed)
                written_bytes += len(packed)
            read_bytes += extent.length
            progress.advance(extent.end, disk.size_bytes)
    progress.advance(disk.size_bytes, disk.size_bytes)
    return RestoreOutcome(read_bytes=read_bytes, written_bytes=written_bytes)


class _Packer:
    """Reads regions and packs their grains. For any thread."""

    def __init__(self, repository: Repository, stored: StoredDisk, target: StreamedDisk) -> None:
        self._repository = repository
        self._stored = stored
        self._target = target
        self._own = local()

    def extent(self, region: int) -> Extent:
        """The bytes of a region."""
        start = region * self._stored.region_bytes
        return Extent(start, min(start + self._stored.region_bytes, self._stored.size_bytes))

    def pack(self, extent: Extent) -> tuple[Extent, list[tuple[int, bytes]]]:
        """The grains in an extent that are not zeros."""
        if not hasattr(self._own, "reader"):
            self._own.reader = StoredReader(self._repository, self._stored)
            self._own.buffer = memoryview(bytearray(self._stored.region_bytes))
        plain = self._own.buffer[: extent.length]
        self._own.reader.read_into(extent.start, plain)
        step = self._target.grain_bytes
        grains = ((extent.start + at, plain[at : at + step]) for at in range(0, extent.length, step))
        return extent, [
            (at // step, self._target.pack(grain)) for at, grain in grains if np.frombuffer(grain, "u1").any()
        ]


def _in_order(act: Callable[[_Work], _Result], work: Iterable[_Work]) -> Iterator[_Result]:
    """The results in the order of the work, of which a few pieces are under way at a time."""
    count = worker_count()
    with ThreadPoolExecutor(count, thread_name_prefix="mover") as pool:
        under_way: deque[Future[_Result]] = deque()
        try:
            for piece in work:
                under_way.append(pool.submit(act, piece))
                if len(under_way) > count * _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
