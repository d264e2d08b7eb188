"""What is to be stored: each stream of bytes (a captured disk, a definition) as work by regions.

A region is read whole, or, where the parent point's tree and the changes since are known, only where it changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent, align_outward, intersect, normalise, split_by, total_bytes
from holdfast.core.ports import BlockReader, CapturedDisk
from holdfast.repository import StoredDisk


class BytesReader:
    """A BlockReader over bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy a range out."""
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True, slots=True)
class BytesSource:
    """A small thing to be stored as if it were a disk."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.content)

    def open_reader(self) -> BlockReader:
        """A reader over it."""
        return BytesReader(self.content)


@dataclass(eq=False, slots=True)
class Stream:
    """Something to be stored as a tree. `parent` is the tree it is an edit of; None if it is built anew.

    `data` are the extents that may hold anything but zeros, `work` the regions still to be read, `expected_bytes` about
    how much that is. `leaves` and `read_bytes` collect the outcome: region number -> leaf id, None for a region that is
    now all zeros. `shaken`: a leaf of the parent has proved damaged, and with it any other may be.
    """

    source: CapturedDisk | BytesSource
    data: Sequence[Extent]
    parent: StoredDisk | None = None
    work: Iterable["RegionWork"] = ()
    expected_bytes: int = 0
    leaves: dict[int, bytes | None] = field(default_factory=dict)
    read_bytes: int = 0
    shaken: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class RegionWork:
    """One region to be read and stored.

    `data` are the extents in it that may hold anything but zeros. `changed` are those that may differ from `old_leaf`;
    None: read everything.
    """

    stream: Stream
    region: int
    data: Sequence[Extent]
    changed: Sequence[Extent] | None = None
    old_leaf: bytes | None = None


@dataclass(frozen=True, slots=True)
class Planner:
    """Turns sources into streams with work, for one repository's block and region sizes."""

    block_bytes: int
    region_bytes: int

    def blob(self, content: bytes) -> Stream:
        """A small thing."""
        return self._whole(BytesSource(content), [Extent(0, len(content))] if content else [])

    def disk(self, disk: CapturedDisk, parent: StoredDisk | None) -> Stream:
        """A disk's changes if they and the parent's tree are known and fit together, else all it holds.

        Raises DamagedError if the parent's pages above the changes are damaged, FailedError if the capture contradicts
        itself.
        """
        data = normalise(disk.data())
        if data and data[-1].end > disk.size_bytes:
            message = f"disk {disk.name} claims data at byte {data[-1].end}, but is {disk.size_bytes} bytes long"
            raise FailedError(message, hint="run again; if it persists, check the image", code="geometry")
        if parent is None or parent.size_bytes > disk.size_bytes or (changes := disk.changes()) is None:
            return self._whole(disk, data)
        changed = normalise(changes)
        if self._misses_a_change(parent, data, changed):
            return self._whole(disk, data)
        return self._edit(disk, parent, data, changed)

    def _misses_a_change(self, parent: StoredDisk, data: Sequence[Extent], changed: Sequence[Extent]) -> bool:
        """Whether a region held data, holds none now, and no change tells of it: the disk was cut short and grew again.

        QEMU's bitmaps grow with clean bits. Looks at the parent's pages, not at its leaves.
        """
        told = {region for region, _ in split_by(changed, self.region_bytes)}
        held = {region for region, _ in split_by(data, self.region_bytes)}
        return any(region not in held and region not in told for region, _ in parent.leaves())

    def start_over(self, stream: Stream) -> None:
        """Plan to read all of a stream: what it was to be an edit of cannot be relied on."""
        stream.parent, stream.shaken = None, False
        stream.leaves.clear()
        stream.expected_bytes = total_bytes(stream.data)
        pieces = split_by(stream.data, self.region_bytes)
        stream.work = (RegionWork(stream, region, held) for region, held in pieces)

    def _whole(self, source: CapturedDisk | BytesSource, data: Sequence[Extent]) -> Stream:
        stream = Stream(source, data)
        self.start_over(stream)
        return stream

    def _edit(
        self, disk: CapturedDisk, parent: StoredDisk, data: Sequence[Extent], changes: Sequence[Extent]
    ) -> Stream:
        """Only the regions with changes. Raises DamagedError if the parent's pages above them are damaged."""
        stream = Stream(disk, data, parent, expected_bytes=total_bytes(intersect(changes, data)))
        limit = -(-disk.size_bytes // self.block_bytes) * self.block_bytes
        touched = dict(split_by(align_outward(changes, self.block_bytes, limit), self.region_bytes))
        windows = normalise(Extent(region * self.region_bytes, (region + 1) * self.region_bytes) for region in touched)
        held = dict(split_by(intersect(data, windows), self.region_bytes))
        rows = list(parent.leaves_at(list(touched)))
        stream.work = (RegionWork(stream, region, held.get(region, ()), touched[region], leaf) for region, leaf in rows)
        return stream
