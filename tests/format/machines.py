"""A machine whose disks are sparse dictionaries of blocks: the plain model that restored disks are compared with."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blake3 import blake3

from holdfast.core.extents import Extent, normalise
from holdfast.core.point import CaptureKind, Consistency

BLOCK = 4096
WINDOW = 4 << 20


@dataclass(slots=True, kw_only=True)
class Disk:
    """A disk, block by block; what no block holds is zeros. `before` is its past self, if changes since are known."""

    name: str
    size_bytes: int
    blocks: dict[int, bytes] = field(default_factory=dict)
    before: "Disk | None" = None
    format: str = "raw"
    reason: str = "a test"
    mark: dict[str, Any] | None = None

    @property
    def capture(self) -> CaptureKind:
        return "full" if self.before is None else "incremental"

    def data(self) -> list[Extent]:
        return self._extents(self.blocks)

    def changes(self) -> list[Extent] | None:
        if self.before is None:
            return None
        past = self.before
        edited = [each for each in self.blocks.keys() | past.blocks.keys() if self.block(each) != past.block(each)]
        return normalise([*self._extents(edited), Extent(past.size_bytes, self.size_bytes)])

    def block(self, number: int) -> bytes:
        return self.blocks.get(number, b"")

    def open_reader(self) -> "Disk":
        return self

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content(offset, len(buffer))

    def content(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, -(-(offset + length) // BLOCK)
        whole = b"".join(self.block(number).ljust(BLOCK, b"\0") for number in range(first, last))
        return whole[offset - first * BLOCK :][:length]

    def close(self) -> None:
        pass

    def write_blocks(self, start: int, content: bytes) -> None:
        """Write content from a block on; blocks of zeros become holes, and nothing stands past the disk's end."""
        content = content[: max(0, self.size_bytes - start * BLOCK)]
        for at in range(0, len(content), BLOCK):
            part = content[at : at + BLOCK]
            if any(part):
                self.blocks[start + at // BLOCK] = part
            else:
                self.blocks.pop(start + at // BLOCK, None)

    def next_state(self, size_bytes: int | None = None) -> "Disk":
        """The same disk, to be changed and captured by its changes."""
        after = copy.copy(self)
        after.blocks, after.before = dict(self.blocks), self
        after.size_bytes = size_bytes or self.size_bytes
        return after

    def digest(self) -> str:
        """BLAKE3 of the whole disk, in hex."""
        return _digest(self.content(at, min(WINDOW, self.size_bytes - at)) for at in range(0, self.size_bytes, WINDOW))

    def _extents(self, numbers: Any) -> list[Extent]:
        limit = self.size_bytes
        return normalise(Extent(each * BLOCK, min((each + 1) * BLOCK, limit)) for each in numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A Capture of such disks."""

    machine: str
    disks: Sequence[Disk]
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    definition: bytes | None = None
    nvram: bytes | None = None
    consistency: Consistency = "crash"
    freeze_ms: float | None = None
    warnings: Sequence[str] = ()

    @property
    def machine_id(self) -> str:
        return f"id of {self.machine}"

    def confirm(self) -> None:
        pass

    def settle(self) -> Sequence[str]:
        return ()


class FileTarget:
    """A TargetDisk that is a sparse file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.output = str(path)
        self._path = path
        with path.open("xb") as file:
            file.truncate(size_bytes)

    def open_writer(self) -> "FileWriter":
        return FileWriter(self._path)

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        self._path.unlink()


class FileWriter:
    """A BlockWriter into it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")

    def write(self, offset: int, buffer: memoryview) -> None:
        self._file.seek(offset)
        self._file.write(buffer)

    def close(self) -> None:
        self._file.close()


def file_digest(path: Path) -> str:
    """BLAKE3 of a file, in hex."""
    with path.open("rb") as file:
        return _digest(iter(lambda: file.read(WINDOW), b""))


def mixed_bytes(chance: random.Random, length: int) -> bytes:
    """Some text, some noise, some zeros."""
    parts: list[bytes] = []
    while sum(len(part) for part in parts) < length:
        size = chance.randrange(1, 40_000)
        parts.append([bytes(size), b"holdfast " * (size // 9), chance.randbytes(size)][chance.randrange(3)])
    return b"".join(parts)[:length]


def _digest(parts: Iterator[bytes]) -> str:
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()
