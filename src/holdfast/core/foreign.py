"""The port to whoever reads file systems that are not read here: questions about the files of one volume, answered.

Values travel between processes, so each is plain, and checked against its form where it arrives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


class Blocks(Protocol):
    """The bytes of a volume. Read by many threads."""

    @property
    def size_bytes(self) -> int:
        """Exact size."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer. Raises HoldfastError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignQuestion:
    """About the file at a path: itself; what it holds from the entry `offset` on; `length` of its bytes; its xattrs."""

    what: Literal["look", "list", "read", "xattrs"]
    path: bytes
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """A file: see stat(2). `problem` says why the rest is not known."""

    name: bytes
    mode: int = 0
    size: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    number: int = 0
    links: int = 1
    device: int = 0
    target: bytes | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAnswer:
    """What was asked for; or, if there is a `reason`, why it cannot be had. `more` entries follow behind `files`."""

    files: tuple[ForeignFile, ...] = ()
    more: bool = False
    content: bytes = b""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    reason: Literal["", "missing", "unsupported", "broken"] = ""
    message: str = ""


class ForeignFiles(Protocol):
    """The files of one volume. Used by one thread at a time."""

    def answer(self, question: ForeignQuestion) -> ForeignAnswer:
        """What is asked for. Raises HoldfastError if nobody is there to answer."""

    def close(self) -> None:
        """End whatever reads them. May be called twice."""


class ForeignReader(Protocol):
    """What reads file systems of other kinds."""

    @property
    def lacking(self) -> str:
        """What is missing for it here, and how to get it; empty if nothing is."""

    def open(self, name: str, kind: str, blocks: Blocks) -> ForeignFiles:
        """The files of the volume called `name`, of a kind as mount(8) calls it, read only. Raises HoldfastError."""
