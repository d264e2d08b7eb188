"""What the program and the process that reads images say to each other: short messages, each with a length before it.

    program -> reader   a question
    reader -> program   "I need bytes of a disk", any number of times; the program answers with bytes
    reader -> program   "I need to know of a file that I cannot read"; the program answers what somebody else says of it
    reader -> program   the answer, or why there is none

Both sides refuse what is longer than agreed or not of the agreed form: the reader may have been taken over by what it
reads.
"""

import socket
import struct
from typing import Final, Literal

import msgspec

from holdfast.core.foreign import ForeignQuestion
from holdfast.filesystems.contents import Kind

LARGEST_MESSAGE: Final = 24 * 1024 * 1024
ENTRIES_AT_ONCE: Final = 4096
RUNS_AT_ONCE: Final = 65536
READ_AT_ONCE: Final = 4 * 1024 * 1024
Reason = Literal["missing", "unsupported", "broken", "too-large"]
_HEAD: Final = struct.Struct(">I")


class DiskSize(msgspec.Struct, frozen=True):
    """A disk that can be asked for."""

    name: str
    size: int


class Open(msgspec.Struct, frozen=True, tag=True):
    """Look into these disks. `keys` open encrypted volumes; `volume` alone is wanted, or the guest's tree.

    `lacking` is why nobody else reads what cannot be read here; None if nobody is to be asked.
    """

    disks: list[DiskSize]
    keys: dict[str, bytes]
    volume: str | None
    lacking: str | None = None


class List(msgspec.Struct, frozen=True, tag=True):
    """Tell what a directory holds, after so many entries. Without `attributes` only names and kinds are told."""

    path: bytes
    skip: int
    attributes: bool


class Look(msgspec.Struct, frozen=True, tag=True):
    """Tell what is at a path. A link at its end is followed, or not."""

    path: bytes
    follow: bool


class Runs(msgspec.Struct, frozen=True, tag=True):
    """Tell where a file's bytes are, after so many runs."""

    path: bytes
    skip: int


class Read(msgspec.Struct, frozen=True, tag=True):
    """Bytes of a file."""

    path: bytes
    offset: int
    length: int


class Attributes(msgspec.Struct, frozen=True, tag=True):
    """A file's extended attributes."""

    path: bytes


class Touched(msgspec.Struct, frozen=True, tag=True):
    """Tell which inodes lie in these ranges of the disks, (disk, start, end), after so many of them."""

    ranges: list[tuple[int, int, int]]
    skip: int


Question = Open | List | Look | Runs | Read | Attributes | Touched


class VolumeFound(msgspec.Struct, frozen=True, kw_only=True):
    """A volume: see `volumes.Volume`. `mounted_at` are its places in the guest's tree."""

    name: str
    size_bytes: int | None
    file_system: str | None
    label: str
    uuid: str
    layers: list[str]
    mounted_at: list[str]
    reason: str
    doubt: str | None
    reader: Literal["holdfast", "libguestfs"] | None


class Opened(msgspec.Struct, frozen=True, tag=True):
    """What is on the disks, and what could not be put into the tree."""

    volumes: list[VolumeFound]
    notes: list[str]


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A file. `path` is where it really is. `volume` and `number` are equal for two names of one file.

    Everything but path, kind, volume and number is missing where it was not asked for.
    """

    path: bytes
    kind: Kind
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    volume: str = ""
    number: int = 0
    links: int = 1
    target: bytes | None = None
    device: tuple[int, int] | None = None
    problem: str = ""


class Listing(msgspec.Struct, frozen=True, tag=True):
    """Some of a directory; `more` says whether there is more."""

    entries: list[Entry]
    more: bool


class FileRun(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of a file, and where on a disk they are; zeros where `disk` is None."""

    start: int
    length: int
    disk: int | None
    offset: int


class Placed(msgspec.Struct, frozen=True, tag=True):
    """Some of a file's runs; None if its bytes must be computed."""

    runs: list[FileRun] | None
    more: bool


class Bytes(msgspec.Struct, frozen=True, tag=True):
    """Of a file."""

    content: bytes


class Extended(msgspec.Struct, frozen=True, tag=True):
    """Extended attributes."""

    attributes: dict[str, bytes]


class Inode(msgspec.Struct, frozen=True, array_like=True):
    """An inode and a digest of its bytes."""

    volume: str
    number: int
    digest: bytes


class Inodes(msgspec.Struct, frozen=True, tag=True):
    """Some of them; None if a file system does not tell."""

    inodes: list[Inode] | None
    more: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no answer: the path is missing, what is there is not supported, or broken."""

    reason: Reason
    message: str


class Need(msgspec.Struct, frozen=True, tag=True):
    """Bytes of a disk."""

    disk: int
    offset: int
    length: int


class NeedForeign(msgspec.Struct, frozen=True, tag=True):
    """An answer about a volume that lies in these places of the disks, (disk, offset, length), and is of this kind."""

    volume: str
    kind: str
    places: list[tuple[int, int, int]]
    question: ForeignQuestion


Answer = Opened | Listing | Entry | Placed | Bytes | Extended | Inodes | Failed | Need | NeedForeign


class Channel:
    """One end of a socket. Raises EOFError when the other one is gone, ValueError for what was not agreed upon."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: bytes) -> None:
        """All of it."""
        self._end.sendall(_HEAD.pack(len(message)))
        self._end.sendall(message)

    def receive(self) -> bytes:
        """One message."""
        (length,) = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > LARGEST_MESSAGE:
            raise ValueError(f"a message of {length} bytes")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            got = self._end.recv_into(view)
            if not got:
                raise EOFError
            view = view[got:]
        return bytes(buffer)
