"""A stored point, lent as a capture lends a machine: so that what stores captures can store copies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from holdfast.core.extents import Extent
from holdfast.core.point import CaptureKind, Consistency, PointDisk, RestorePoint
from holdfast.repository import LayoutReader, Repository, StoredDisk


class LentPoint:
    """A Capture of a point in `source`. `before` are the disks, by name, of a point there that the borrower has too.

    Changes since it are exact: trees are compared, and what lies below equal nodes is not looked at.
    """

    freeze_ms = None
    warnings: Sequence[str] = ()

    def __init__(
        self,
        source: Repository,
        point: RestorePoint,
        before: Mapping[str, StoredDisk],
        at_confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._at_confirm = at_confirm
        self.point = point
        self.disks = tuple(LentDisk(source, disk, before.get(disk.name)) for disk in point.disks)

    @property
    def machine(self) -> str:
        """The label it had."""
        return self.point.machine

    @property
    def machine_id(self) -> str:
        """Its lasting identity."""
        return self.point.machine_id

    @property
    def captured_at(self) -> datetime:
        """The instant of the original capture."""
        return self.point.captured_at

    @property
    def consistency(self) -> Consistency:
        """As it was captured."""
        return self.point.consistency

    @property
    def definition(self) -> bytes | None:
        """The machine's definition."""
        return self._blob(self.point.definition.xml)

    @property
    def nvram(self) -> bytes | None:
        """Firmware variables."""
        return self._blob(self.point.definition.nvram)

    def confirm(self) -> None:
        """What is lent never changes; whoever borrows it may have something to look at before it counts."""
        self._at_confirm()

    def settle(self) -> Sequence[str]:
        """Nothing is to be moved."""
        return ()

    def _blob(self, root: str | None) -> bytes | None:
        return None if root is None else self._source.read_blob(root)


class LentDisk:
    """A CapturedDisk over a stored one."""

    def __init__(self, source: Repository, disk: PointDisk, before: StoredDisk | None) -> None:
        self._source = source
        self._disk = disk
        self._before = before
        self.stored = source.open_disk(disk.root)

    @property
    def name(self) -> str:
        """The disk's name."""
        return self._disk.name

    @property
    def size_bytes(self) -> int:
        """Exact size."""
        return self.stored.size_bytes

    @property
    def format(self) -> str:
        """What it was before it was stored."""
        return self._disk.format

    @property
    def mark(self) -> dict[str, Any] | None:
        """The original's mark: it tells later changes from this instant wherever the point is stored."""
        return self._disk.mark

    @property
    def capture(self) -> CaptureKind:
        """Whether `changes` tells changes since a point that the target has."""
        return "incremental" if self._before else "full"

    @property
    def reason(self) -> str:
        """Why it is of that kind."""
        return "changed since a point that is there" if self._before else "no point of it is there"

    def data(self) -> Iterable[Extent]:
        """Regions that hold anything."""
        return [self.stored.region(region) for region, _ in self.stored.leaves()]

    def changes(self) -> Iterable[Extent] | None:
        """Blocks that differ from the point before."""
        if self._before is None:
            return None
        return list(self.stored.extents_changed_since(self._before))

    def open_reader(self) -> "StoredReader":
        """A reader over it."""
        return StoredReader(self._source, self.stored)


class StoredReader:
    """A BlockReader over a stored disk: a few large reads for each call."""

    def __init__(self, source: Repository, stored: StoredDisk) -> None:
        self._stored = stored
        self._reader = LayoutReader(source.records, source.keys.data_id_key)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill all of the buffer. Raises BlockMissingError."""
        end = offset + len(buffer)
        buffer[:] = bytes(len(buffer))
        region_bytes = self._stored.region_bytes
        for region, leaf in self._stored.leaves_at(list(range(offset // region_bytes, -(-end // region_bytes)))):
            if leaf is None:
                continue
            layout = self._stored.layout(region, leaf)
            reached = (layout.starts < end) & (layout.starts + layout.lengths > offset)
            for start, content in self._reader.read(layout.only(np.flatnonzero(reached))):
                first, last = max(start, offset), min(start + len(content), end)
                buffer[first - offset : last - offset] = content[first - start : last - start]

    def close(self) -> None:
        """Nothing to give back."""
