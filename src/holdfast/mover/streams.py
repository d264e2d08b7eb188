"""What is to be stored: each stream of bytes (a captured disk, a definition) as work by regions.

A region is read whole, or, where the parent point's tree and the changes since are known, only where it changed. Some
of the rest is read all the same, another share each time, and compared: a change list that lies does not lie for ever.
"""

import random
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

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
    now all zeros. `shaken`: a leaf of the parent has proved damaged, and with it any other may be. `caught` are regions
    that were told to be unchanged and are not; `proved_bytes` were read to compare.
    """

    source: CapturedDisk | BytesSource
    data: Sequence[Extent]
    parent: StoredDisk | None = None
    work: Iterable["RegionWork"] = ()
    expected_bytes: int = 0
    leaves: dict[int, bytes | None] = field(default_factory=dict)
    read_bytes: int = 0
    proved_bytes: int = 0
    shaken: bool = False
    caught: list[Extent] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class RegionWork:
    """One region to be read and stored.

    `data` are the extents in it that may hold anything but zeros. `changed` are those that may differ from `old_leaf`;
    None: read everything. `proving`: read everything, and compare what did not change with `old_leaf`.
    """

    stream: Stream
    region: int
    data: Sequence[Extent]
    changed: Sequence[Extent] | None = None
    old_leaf: bytes | None = None
    proving: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether it is read only to be compared."""
        return self.proving and not self.changed


@dataclass(frozen=True, slots=True)
class Proof:
    """Which regions an increment reads although they are told to be unchanged: one in `rounds`, others each `turn`.

    After `rounds` turns each region has been read. 0 rounds: none ever is.
    """

    rounds: int
    turn: int

    def falls_on(self, region: int) -> bool:
        """Whether it is this region's turn."""
        return self.rounds > 0 and region % self.rounds == self.turn % self.rounds


_STRETCH_REGIONS: Final = 64
"""256 MiB: long reads, and records that lie in the order of the disk."""
NO_PROOF = Proof(0, 0)


@dataclass(frozen=True, slots=True)
class Planner:
    """Turns sources into streams with work, for one repository's block and region sizes."""

    block_bytes: int
    region_bytes: int

    def blob(self, content: bytes) -> Stream:
        """A small thing."""
        return self._whole(BytesSource(content), [Extent(0, len(content))] if content else [])

    def disk(
        self,
        disk: CapturedDisk,
        parent: StoredDisk | None,
        lacking: Collection[int] = (),
        proof: Proof = NO_PROOF,
    ) -> Stream:
        """A disk's changes if they and the parent's tree are known and fit together, else all it holds.

        `lacking` are regions of which the parent has lost something: they are read whole, whether they changed or not.

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
        limit = -(-disk.size_bytes // self.block_bytes) * self.block_bytes
        touched = dict(split_by(align_outward(changed, self.block_bytes, limit), self.region_bytes))
        held = dict(split_by(data, self.region_bytes))
        if _misses_a_change(parent, held, touched):
            return self._whole(disk, data)
        stream = Stream(disk, data, parent, expected_bytes=total_bytes(intersect(changed, data)))
        proving = {region for region in held if proof.falls_on(region)}
        again = (RegionWork(stream, region, held.get(region, ())) for region in sorted(lacking))
        rows = list(parent.leaves_at(sorted({*touched, *proving} - {*lacking})))
        edits = (
            RegionWork(stream, region, held.get(region, ()), touched.get(region, ()), leaf, region in proving)
            for region, leaf in rows
        )
        stream.work = chain(again, edits)
        return stream

    def start_over(self, stream: Stream) -> None:
        """Plan to read all of a stream: what it was to be an edit of cannot be relied on."""
        stream.parent, stream.shaken = None, False
        stream.leaves.clear()
        stream.expected_bytes = total_bytes(stream.data)
        stream.work = (RegionWork(stream, region, held) for region, held in self._in_any_order(stream.data))

    def _in_any_order(self, data: Sequence[Extent]) -> Iterator[tuple[int, Sequence[Extent]]]:
        """Regions that hold data, in long stretches, those in any order.

        Equal machines that are read for the first time at once meet what the others have stored, instead of storing the
        same at the same time.
        """
        stretches = list(split_by(data, _STRETCH_REGIONS * self.region_bytes))
        random.shuffle(stretches)
        for _, held in stretches:
            yield from split_by(held, self.region_bytes)

    def again(self, stream: Stream, regions: Collection[int]) -> None:
        """Plan to read these regions of a stream once more, whole."""
        pieces = split_by(stream.data, self.region_bytes)
        stream.work = [RegionWork(stream, region, held) for region, held in pieces if region in regions]
        stream.expected_bytes = sum(total_bytes(work.data) for work in stream.work)

    def _whole(self, source: CapturedDisk | BytesSource, data: Sequence[Extent]) -> Stream:
        stream = Stream(source, data)
        self.start_over(stream)
        return stream


def _misses_a_change(parent: StoredDisk, held: Container[int], touched: Container[int]) -> bool:
    """Whether a region held data, holds none now, and no change tells of it: the disk was cut short and grew again.

    QEMU's bitmaps grow with clean bits. Looks at the parent's pages, not at its leaves.
    """
    return any(region not in held and region not in touched for region, _ in parent.leaves())
