"""A stored disk from its begin to its end: read, proved and packed by many threads, put in order by one."""

from threading import local

import numpy as np

from holdfast.core.ahead import results_ahead
from holdfast.core.appliance import StreamedDisk
from holdfast.core.extents import Extent
from holdfast.core.point import PointDisk
from holdfast.core.progress import Progress
from holdfast.mover.lent import StoredReader
from holdfast.mover.pool import worker_count
from holdfast.mover.restore import RestoreOutcome, opening
from holdfast.repository import Repository, StoredDisk

_AHEAD = 2
"""Regions in memory for each thread."""


def stream_disk(repository: Repository, disk: PointDisk, target: StreamedDisk, *, progress: Progress) -> RestoreOutcome:
    """Write all grains of a stored disk that are not zeros. Raises DamagedError, and what the target raises."""
    progress.step(f"Exporting {disk.name}")
    read_bytes = written_bytes = 0
    with opening(repository, disk) as stored:
        packer = _Packer(repository, stored, target)
        regions = (stored.region(number) for number, _ in stored.leaves())
        threads = worker_count()
        for extent, grains in results_ahead("mover", packer.pack, regions, threads=threads, ahead=threads * _AHEAD + 1):
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
