"""What a file system tells of its files, whichever kind it is."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from holdfast.core.extents import Extent
from holdfast.filesystems.errors import BrokenError
from holdfast.filesystems.source import Source

Kind = Literal["file", "dir", "link", "other"]
Node = Any
"""A file system's own name for a file; hashable."""

MOST_RUNS = 4_000_000
"""A file in more pieces is a broken one."""


class Attributes(NamedTuple):
    """A file's attributes. `number` is equal for two names of one file; `device` is (major, minor) of a device."""

    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    number: int
    links: int = 1
    target: bytes | None = None
    device: tuple[int, int] | None = None


class Named(NamedTuple):
    """An entry of a directory; its kind where the directory says it."""

    name: bytes
    node: Node
    kind: Kind | None = None


class Run(NamedTuple):
    """Bytes of a file, and where in its volume they are; `at` is None where they are zeros."""

    start: int
    length: int
    at: int | None


class FileSystem(Protocol):
    """A file system in a volume. What is wrong in it raises BrokenError, UnsupportedError, or what a parser raises."""

    @property
    def name(self) -> str:
        """Its kind, for instance ext4."""

    @property
    def label(self) -> str:
        """What its owner called it."""

    @property
    def uuid(self) -> str:
        """As fstab writes it."""

    @property
    def doubt(self) -> str | None:
        """Why it may show less than its guest would, if so."""

    @property
    def ignores_case(self) -> bool:
        """Whether names are found in whichever case they are asked for."""

    @property
    def root(self) -> Node:
        """Its top directory."""

    def entries(self, node: Node) -> Iterator[Named]:
        """What a directory holds, without `.` and `..`."""

    def attributes(self, node: Node) -> Attributes:
        """Of any file."""

    def runs(self, node: Node) -> list[Run] | None:
        """Where a file's bytes are, in order and without gaps; None if they must be computed."""

    def read(self, node: Node, offset: int, length: int) -> bytes:
        """Bytes of a file, which all lie in it."""

    def xattrs(self, node: Node) -> Mapping[str, bytes]:
        """Extended attributes, as getxattr(2) would give them."""

    def touched(self, extents: Sequence[Extent]) -> Iterator[tuple[int, bytes]] | None:
        """Numbers and bytes of all inodes that lie in any of these bytes of the volume; None if that is not told.

        Where it is told, nodes are numbers, and whatever changes a file or a directory changes its inode.
        """


def kind_of(mode: int) -> Kind:
    """By the type in a mode of Unix."""
    kinds: dict[int, Kind] = {0o100000: "file", 0o040000: "dir", 0o120000: "link"}
    return kinds.get(mode & 0o170000, "other")


def in_order(runs: Iterable[Run], size: int) -> list[Run]:
    """Runs with their gaps filled by zeros, neighbours joined, and cut off at the file's size. Raises BrokenError."""
    found: list[Run] = []
    behind = 0
    for count, run in enumerate(runs):
        if run.start < behind or run.length < 0 or count > MOST_RUNS:
            raise BrokenError(f"the pieces of a file overlap at its byte {run.start}")
        if run.start >= size:
            break
        _add(found, Run(behind, run.start - behind, None))
        behind = min(run.start + run.length, size)
        _add(found, Run(run.start, behind - run.start, run.at))
    _add(found, Run(behind, size - behind, None))
    return found


def _add(found: list[Run], run: Run) -> None:
    if run.length <= 0:
        return
    if found:
        start, length, at = found[-1]
        if (at is None and run.at is None) or (at is not None and at + length == run.at):
            found[-1] = Run(start, length + run.length, at)
            return
    found.append(run)


def read_runs(volume: Source, runs: Sequence[Run], offset: int, length: int) -> bytes:
    """Bytes of a file by its runs."""
    found: list[bytes] = []
    end = offset + length
    for run in runs[max(0, bisect_right(runs, offset, key=lambda run: run.start) - 1) :]:
        if run.start >= end:
            break
        start, stop = max(offset, run.start), min(end, run.start + run.length)
        if start < stop:
            found.append(
                bytes(stop - start) if run.at is None else volume.read(run.at + start - run.start, stop - start)
            )
    return b"".join(found)
