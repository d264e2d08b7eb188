"""The program's side of a look into disks: starts the reader, gives it the bytes it asks for, and believes it little.

Every answer is decoded against its form. An answer that takes too long, or wants too much, ends the reader.
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from holdfast.core.errors import FailedError, HoldfastError, NotFoundError, RefusedError
from holdfast.core.foreign import Blocks, ForeignAnswer, ForeignReader
from holdfast.filesystems import wire
from holdfast.filesystems.foreign_volumes import ForeignVolumes

NOT_READABLE: Final = "not-readable-here"
BROKEN: Final = "broken-file-system"
_WANTED_BYTES: Final = 8 * 1024**3
"""How much of the disks it may read for one answer."""
_LAST_WORDS_S: Final = 1.0
"""What has hung up ends by itself, with a status that says why."""
_LARGEST_NEED: Final = 16 * 1024 * 1024

_A = TypeVar("_A", bound=wire.Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look at: all volumes or one, and keys for those that are encrypted.

    What is of a kind that is not read here is left to `foreign`.

    For `thinking_s` seconds may the reader compute for one answer; the time it waits for bytes does not count.
    """

    volume: str | None = None
    thinking_s: float = 60.0
    keys: Mapping[str, bytes] = field(default_factory=dict)
    foreign: ForeignReader | None = None


class Inspection:
    """A look into some disks. A context manager; safe to use from many threads, which wait for each other."""

    def __init__(self, devices: Mapping[str, Blocks], wanted: Wanted, where: str) -> None:
        """Start the reader and open the disks. `where` names them in errors. Raises FailedError, NotFoundError."""
        self.devices = list(devices.values())
        self._where = where
        self._thinking_s = wanted.thinking_s
        self._turn = Lock()
        self._foreign = ForeignVolumes(self.devices, wanted.foreign)
        self._child, end = _start()
        self._channel = wire.Channel(end)
        self._end = end
        self._trouble: HoldfastError | None = None
        self._volumes: Sequence[wire.VolumeFound] = ()
        try:
            self._await_sandbox(b"keys" if wanted.keys else b"none")
            sizes = [wire.DiskSize(name, device.size_bytes) for name, device in devices.items()]
            self.opened = self._ask(
                wire.Open(sizes, dict(wanted.keys), wanted.volume, self._foreign.lacking), wire.Opened
            )
            self._volumes = self.opened.volumes
        except BaseException:
            self.close()
            raise

    def look(self, path: bytes, *, follow: bool = False) -> wire.Entry:
        """The file at a path; a link at its end is followed or not. Raises NotFoundError, FailedError, RefusedError."""
        return self._ask(wire.Look(path, follow), wire.Entry)

    def entries(self, path: bytes, *, attributes: bool = True) -> Iterator[wire.Entry]:
        """What a directory holds. Raises as `look` does."""
        skip = 0
        while True:
            listing = self._ask(wire.List(path, skip, attributes), wire.Listing)
            for entry in listing.entries:
                above, _, name = entry.path.rpartition(b"/")
                self._require(above == path.rstrip(b"/") and b"\0" not in name and name not in {b"", b".", b".."})
            yield from listing.entries
            skip += len(listing.entries)
            if not listing.more or not listing.entries:
                return

    def runs(self, path: bytes, size: int | None) -> list[wire.FileRun] | None:
        """Where a file's bytes are on the disks, in order, all of them; None if the reader must compute them.

        `size` is the file's, or None for a directory, whose size is nobody's business.
        """
        found: list[wire.FileRun] = []
        behind = 0
        while True:
            placed = self._ask(wire.Runs(path, len(found)), wire.Placed)
            if placed.runs is None:
                return None
            for run in placed.runs:
                self._require(run.start == behind and run.length > 0)
                if run.disk is not None:
                    self._require(0 <= run.disk < len(self.devices) and run.offset >= 0)
                    self._require(run.offset + run.length <= self.devices[run.disk].size_bytes)
                behind += run.length
            found += placed.runs
            if not placed.more or not placed.runs:
                self._require(size is None or behind == size)
                return found

    def read(self, path: bytes, offset: int, length: int) -> bytes:
        """Bytes of a file, all of them: it is long enough."""
        found = bytearray()
        while len(found) < length:
            some = self._ask(wire.Read(path, offset + len(found), length - len(found)), wire.Bytes).content
            self._require(0 < len(some) <= length - len(found))
            found += some
        return bytes(found)

    def xattrs(self, path: bytes) -> Mapping[str, bytes]:
        """Extended attributes."""
        return self._ask(wire.Attributes(path), wire.Extended).attributes

    def touched(self, ranges: Sequence[tuple[int, int, int]]) -> dict[tuple[str, int], bytes] | None:
        """Digests of the inodes that lie in these ranges of the disks, by volume and number; None if that is not told.

        A range is (disk, start, end).
        """
        found: dict[tuple[str, int], bytes] = {}
        told = 0
        while True:
            inodes = self._ask(wire.Touched(list(ranges), told), wire.Inodes)
            if inodes.inodes is None:
                return None
            found |= {(each.volume, each.number): each.digest for each in inodes.inodes}
            told += len(inodes.inodes)
            if not inodes.more or not inodes.inodes:
                return found

    @property
    def has_ended(self) -> bool:
        """Whether the reader is gone, and nothing more can be asked."""
        return self._child.returncode is not None

    def close(self) -> None:
        """End the reader. May be called twice."""
        self._foreign.close()
        self._end.close()
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        if self._child.stderr is not None:
            self._child.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, question: wire.Question, expected: type[_A]) -> _A:
        with self._turn:
            try:
                answer = self._answer(question)
            except (EOFError, OSError) as error:
                raise self._ended() from error
            except (ValueError, msgspec.MsgspecError) as error:
                self.close()
                raise self._untrue() from error
        if isinstance(answer, wire.Failed):
            raise self._trouble or self._as_error(answer)
        self._require(isinstance(answer, expected))
        assert isinstance(answer, expected)
        return answer

    def _answer(self, question: wire.Question) -> wire.Answer:
        """Ask, and give the reader what it needs until it answers."""
        self._trouble = None
        self._channel.send(msgspec.msgpack.encode(question))
        thinking, wanted = self._thinking_s, 0
        while True:
            began = time.monotonic()
            if not select.select([self._end], [], [], max(0, thinking))[0]:
                self.close()
                raise self._too_long(f"it has computed for {self._thinking_s:.0f} s")
            answer: wire.Answer = msgspec.msgpack.decode(self._channel.receive(), type=wire.Answer)
            thinking -= time.monotonic() - began
            if isinstance(answer, wire.NeedForeign):
                self._channel.send(msgspec.msgpack.encode(self._asked_elsewhere(answer)))
                continue
            if not isinstance(answer, wire.Need):
                return answer
            wanted += answer.length
            if wanted > _WANTED_BYTES:
                self.close()
                raise self._too_long(f"it has read {wanted >> 30} GiB")
            self._channel.send(self._fetched(answer))

    def _asked_elsewhere(self, need: wire.NeedForeign) -> ForeignAnswer:
        """What somebody else says; or that nobody does: then the user is told our reason."""
        try:
            return self._foreign.answer(need)
        except HoldfastError as error:
            self._trouble = error
            return ForeignAnswer(reason="unsupported", message=error.message)

    def _fetched(self, need: wire.Need) -> bytes:
        """The bytes, or none: then the reader fails, and the user is told our reason."""
        if not 0 <= need.disk < len(self.devices):
            raise ValueError("a disk that there is not")
        device = self.devices[need.disk]
        if need.offset < 0 or not 0 <= need.length <= _LARGEST_NEED or need.offset + need.length > device.size_bytes:
            raise ValueError("bytes that no disk has")
        buffer = bytearray(need.length)
        try:
            device.read_into(need.offset, memoryview(buffer))
        except HoldfastError as error:
            self._trouble = error
            return b""
        return bytes(buffer)

    def _await_sandbox(self, greeting: bytes) -> None:
        try:
            self._channel.send(greeting)
            if self._channel.receive() == b"ready":
                return
        except (EOFError, OSError, ValueError):
            pass
        self._child.wait()
        assert self._child.stderr is not None
        complaint = self._child.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise FailedError(
            f"disks cannot be looked into: {complaint or 'the reader does not start'}",
            hint="install python3-seccomp; `holdfast doctor` looks at it",
            code="no-reader",
        )

    def _ended(self) -> FailedError:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_LAST_WORDS_S)
        self.close()
        return FailedError(
            f"{self._where}: reading its file systems ended early: the reader was stopped ({self._child.returncode})",
            hint="its file systems may be damaged, or made to do harm; restore the disk to look at it elsewhere",
            code="reader-ended",
        )

    def _too_long(self, what: str) -> FailedError:
        return FailedError(
            f"{self._where}: reading its file systems takes too long: for one answer {what}",
            hint="its file systems may be damaged, or made to do harm; restore the disk to look at it elsewhere",
            code="reader-too-slow",
        )

    def _require(self, true: bool) -> None:  # noqa: FBT001 - an assertion about another process
        if not true:
            self.close()
            raise self._untrue()

    def _untrue(self) -> FailedError:
        return FailedError(
            f"{self._where}: its file systems made their reader say what cannot be",
            hint="they may be made to do harm; restore the disk to look at it elsewhere",
            code="reader-untrue",
        )

    def _whereabouts(self) -> str:
        """Where there are files, for who asked for one that is not."""
        listing = f"holdfast file ls {self._where}:/"
        tops = [place for volume in self._volumes for place in volume.mounted_at]
        if not tops:
            return "see what there is with: holdfast file volumes"
        if "/" in tops:
            return f"see what there is with: {listing}"
        return f"there is no one fstab to go by, so the volumes are below {', '.join(tops)}: {listing}"

    def _as_error(self, failed: wire.Failed) -> HoldfastError:
        message = f"{self._where}: {failed.message}"
        match failed.reason:
            case "missing":
                return NotFoundError(message, hint=self._whereabouts(), code="no-such-file")
            case "unsupported":
                return RefusedError(message, hint="restore its disk to read it elsewhere", code=NOT_READABLE)
            case "too-large":
                return FailedError(f"{self._where}: its file systems need too much memory", code="reader-too-large")
            case "broken":
                hint = "the guest's file system is damaged; try another point, or restore the disk and repair it"
                return FailedError(message, hint=hint, code=BROKEN)


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "holdfast.filesystems.reader", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=_environment(sys.path),
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise FailedError(f"cannot start the reader of file systems: {error.strerror}") from error
    return child, ours


def _environment(places: Sequence[str]) -> dict[str, str]:
    """Nothing of ours but where modules are: what the reader does not know cannot be got out of it."""
    path = os.pathsep.join(os.path.abspath(place) for place in places if place)  # noqa: PTH100 - may be an archive
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
