"""Disks as plain byte arrays: the oracle of every backup, lent and taken through the platform's ports."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from holdfast.core.extents import Extent, normalise
from holdfast.core.point import CaptureKind, Consistency
from holdfast.core.ports import BlockEditor, BlockReader, BlockWriter

Fault = Callable[[int, int], None]
"""Called with offset and length before each read or write; raises where something is to go wrong."""


def no_fault(offset: int, length: int) -> None:
    """All goes well."""


class ModelDisk:
    """A virtual disk that remembers what was allocated, and what was written since its mark."""

    def __init__(self, name: str, content: bytes = b"") -> None:
        self.name = name
        self.content = bytearray(content)
        self.allocated = [Extent(0, len(content))] if content else []
        self.dirty: list[Extent] | None = None

    @property
    def size(self) -> int:
        return len(self.content)

    def write(self, offset: int, data: bytes) -> None:
        data = data[: max(0, self.size - offset)]
        self.content[offset : offset + len(data)] = data
        touched = Extent(offset, offset + len(data))
        self.allocated = normalise([*self.allocated, touched])
        self._touch(touched)

    def trim(self, offset: int, length: int) -> None:
        """Zeros that take no room."""
        hole = Extent(min(offset, self.size), min(offset + length, self.size))
        self.content[hole.start : hole.end] = bytes(hole.length)
        self.allocated = list(subtract(self.allocated, [hole] if hole.length else []))
        self._touch(hole)

    def resize(self, size: int) -> None:
        before = self.size
        if size >= before:
            self.content.extend(bytes(size - before))
            self._touch(Extent(before, size))
        else:
            del self.content[size:]
            self.allocated = [Extent(start, min(end, size)) for start, end in self.allocated if start < size]
            self.dirty = None  # a hypervisor that shrinks a disk drops its bitmaps

    def _touch(self, extent: Extent) -> None:
        if self.dirty is not None:
            self.dirty = normalise([*self.dirty, extent])


class _Reader:
    def __init__(self, content: bytes | bytearray, fault: Fault) -> None:
        self._content = content
        self._fault = fault

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._fault(offset, len(buffer))
        assert offset + len(buffer) <= len(self._content), "a read past the end of the disk"
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class CapturedModel:
    """A CapturedDisk: a model's bytes as of now."""

    name: str
    content: bytes
    held: Sequence[Extent]
    changed: Sequence[Extent] | None = None
    mark: dict[str, Any] | None = None
    format: str = "raw"
    fault: Fault = no_fault

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def capture(self) -> CaptureKind:
        return "full" if self.changed is None else "incremental"

    @property
    def reason(self) -> str:
        return "no mark" if self.changed is None else "changed since the mark"

    def data(self) -> Iterable[Extent]:
        return list(self.held)

    def changes(self) -> Iterable[Extent] | None:
        return None if self.changed is None else list(self.changed)

    def open_reader(self) -> BlockReader:
        return _Reader(self.content, self.fault)


@dataclass(kw_only=True)
class ModelCapture:
    """A Capture of some disks."""

    machine: str = "web"
    machine_id: str = ""
    disks: Sequence[CapturedModel] = ()
    definition: bytes | None = None
    nvram: bytes | None = None
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    consistency: Consistency = "crash"
    freeze_ms: float | None = None
    warnings: Sequence[str] = ()
    at_confirm: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.machine_id = self.machine_id or f"id of {self.machine}"

    def confirm(self) -> None:
        self.at_confirm()

    def settle(self) -> Sequence[str]:
        return ()


def whole(content: bytes, name: str = "vda", **more: Any) -> CapturedModel:
    """A disk captured in full, all of it allocated."""
    return CapturedModel(name=name, content=content, held=normalise([Extent(0, len(content))]), **more)


def changed(content: bytes, before: bytes, name: str = "vda", **more: Any) -> CapturedModel:
    """A disk captured by the exact 4 KiB blocks in which it differs from `before`."""
    blocks = [
        Extent(at, min(at + 4096, len(content)))
        for at in range(0, len(content), 4096)
        if content[at : at + 4096] != before[at : at + 4096]
    ]
    return CapturedModel(
        name=name, content=content, held=normalise([Extent(0, len(content))]), changed=normalise(blocks), **more
    )


class ModelTarget:
    """A TargetDisk in memory, with the port's rules watched."""

    def __init__(self, size_bytes: int, fault: Fault = no_fault) -> None:
        self.output = "memory"
        self.content = bytearray(size_bytes)
        self.fault = fault
        self.finished = False
        self.abandoned = False
        self.open_writers = 0
        self.reserved: list[Extent] = []
        self.lock = threading.Lock()

    left_over = None

    def reserve(self, extents: Sequence[Extent]) -> None:
        self.reserved += extents

    def open_writer(self) -> BlockWriter:
        with self.lock:
            self.open_writers += 1
        return _Writer(self)

    def finish(self) -> None:
        assert self.open_writers == 0, "finished with open writers"
        self.finished = True

    def abandon(self) -> None:
        self.abandoned = True


class _Writer:
    def __init__(self, target: ModelTarget) -> None:
        self._target = target
        self._open = True

    def write(self, offset: int, *pieces: memoryview) -> None:
        assert self._open
        buffer = b"".join(pieces)
        self._target.fault(offset, len(buffer))
        assert offset + len(buffer) <= len(self._target.content), "a write past the end of the disk"
        within = (held for held in self._target.reserved if held.start <= offset and offset + len(buffer) <= held.end)
        assert any(within), "a write where no room was made"
        self._target.content[offset : offset + len(buffer)] = buffer

    def close(self) -> None:
        with self._target.lock:
            self._target.open_writers -= self._open
        self._open = False


def subtract(left: Iterable[Extent], right: Iterable[Extent]) -> Iterator[Extent]:
    """The bytes of `left` that are not in `right`."""
    rights = iter(right)
    cut = next(rights, None)
    for start, end in left:
        at = start
        while cut is not None and cut.start < end:
            if cut.start > at:
                yield Extent(at, cut.start)
            at = max(at, cut.end)
            if cut.end > end:
                break
            cut = next(rights, None)
        if at < end:
            yield Extent(at, end)


class EditableModel:
    """An EditableDisk over a model, which records what is written to it as a guest's own writes are.

    `changed` is what it tells of the time since its mark; None: nothing.
    """

    def __init__(self, disk: ModelDisk, changed: Sequence[Extent] | None, fault: Fault = no_fault) -> None:
        self.name = disk.name
        self.reason = "as the test wants it"
        self.fault = fault
        self.written: list[Extent] = []
        self._disk = disk
        self._changed = changed
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return self._disk.size

    def data(self) -> Iterable[Extent]:
        return list(self._disk.allocated)

    def changes(self) -> Iterable[Extent] | None:
        return None if self._changed is None else list(self._changed)

    def open_reader(self) -> BlockReader:
        return _Reader(self._disk.content, no_fault)  # sees what is written meanwhile

    def open_editor(self) -> BlockEditor:
        return _Editor(self)

    def edit(self, offset: int, length: int, act: Callable[[], None]) -> None:
        assert offset + length <= self._disk.size, "a write past the end of the disk"
        with self._lock:
            self.fault(offset, length)
            self.written.append(Extent(offset, offset + length))
            act()


class _Editor:
    def __init__(self, target: EditableModel) -> None:
        self._target = target

    def write(self, offset: int, *pieces: memoryview) -> None:
        content = b"".join(pieces)
        self._target.edit(offset, len(content), lambda: self._target._disk.write(offset, content))

    def zero(self, offset: int, length: int) -> None:
        self._target.edit(offset, length, lambda: self._target._disk.trim(offset, length))

    def close(self) -> None:
        pass
