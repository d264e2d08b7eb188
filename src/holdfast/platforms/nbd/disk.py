"""A captured disk behind an NBD export."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.core.extents import Extent
from holdfast.core.point import CaptureKind
from holdfast.platforms.nbd.client import Export, NbdEditor, NbdReader, data_extents, dirty_extents


@dataclass(frozen=True, slots=True, kw_only=True)
class NbdDisk:
    """A CapturedDisk. With a `bitmap`, which the export offers, it tells what changed since the baseline.

    `size_before` is the disk's size at the baseline: the bitmap knows nothing of what it grew by since.
    """

    name: str
    size_bytes: int
    format: str
    export: Export
    reason: str
    mark: dict[str, Any] | None = None
    bitmap: str | None = None
    size_before: int = 0

    @property
    def capture(self) -> CaptureKind:
        """Incremental if there is a bitmap to ask."""
        return "full" if self.bitmap is None else "incremental"

    def data(self) -> Iterator[Extent]:
        """Extents that may hold non-zero bytes."""
        return data_extents(self.export)

    def changes(self) -> Iterable[Extent] | None:
        """Extents marked dirty, and everything past the baseline's end."""
        if self.bitmap is None:
            return None
        return with_growth(dirty_extents(self.export, self.bitmap), self.size_before, self.size_bytes)

    def open_reader(self) -> NbdReader:
        """A reader with a connection of its own."""
        return NbdReader(self.export)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableNbdDisk(NbdDisk):
    """An EditableDisk. Its server keeps the image's bitmaps right while it writes; `before_writing` is told of that."""

    before_writing: Callable[[], None]

    def open_editor(self) -> NbdEditor:
        """An editor with a connection of its own."""
        self.before_writing()
        return NbdEditor(self.export)


def with_growth(dirty: Iterator[Extent], size_before: int, size: int) -> Iterator[Extent]:
    """`dirty` below `size_before`, then everything from there on."""
    for start, end in dirty:
        if end >= size_before < size:
            yield Extent(min(start, size_before), size)
            return
        yield Extent(start, end)
    if size_before < size:
        yield Extent(size_before, size)
