"""The operating system under a local directory: watched, made to fail, and replayed up to a power cut.

`Kernel` stands in for the `os` module of the modules under test; everything is really done, in order, and noted.
`surviving` says what a disk can hold after the power went at any step of that trace: what was synced for certain, what
was not with or without luck.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from holdfast.repository.storage import local, medium

Kind = Literal["mkdir", "create", "write", "sync", "link", "unlink", "close", "note"]
Fate = Literal["lost", "torn", "kept"]


class Event(NamedTuple):
    """One call that succeeded. `path` is what it was about, `other` a link's source, `data` what was written."""

    kind: Kind
    path: Path
    other: Path | None = None
    data: bytes = b""


Hook = Callable[[Path], None]
"""Called with the path before a call is carried out; raises OSError to make it fail."""


class Kernel:
    """What `os` is to the modules under test."""

    def __init__(self) -> None:
        self.trace: list[Event] = []
        self.before: dict[str, Hook] = {}
        self.longest_write: int | None = None
        self.longest_read: int | None = None
        self._paths: dict[int, Path] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        self._ask("open", Path(path))
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = Path(path)
        if flags & os.O_CREAT:
            self._note("create", Path(path))
        return descriptor

    def close(self, descriptor: int) -> None:
        self._note("close", self._paths[descriptor])
        os.close(descriptor)

    def writev(self, descriptor: int, parts: Sequence[memoryview]) -> int:
        path = self._paths[descriptor]
        self._ask("writev", path)
        content = b"".join(parts)[: self.longest_write]
        count = os.write(descriptor, content)
        self._note("write", path, data=content[:count])
        return count

    def preadv(self, descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        self._ask("preadv", self._paths[descriptor])
        if self.longest_read is None:
            return os.preadv(descriptor, buffers, offset)
        (buffer,) = buffers
        return os.preadv(descriptor, [buffer[: self.longest_read]], offset)

    def fsync(self, descriptor: int) -> None:
        path = self._paths[descriptor]
        self._ask("fsync", path)
        os.fsync(descriptor)
        self._note("sync", path)

    def link(self, source: str | Path, target: str | Path) -> None:
        self._ask("link", Path(target))
        os.link(source, target)
        self._note("link", Path(target), other=Path(source))

    def note(self, text: str) -> None:
        """Something that a test wants to find in the trace."""
        self._note("note", Path(text))

    def steps(self, *kinds: Kind) -> list[Event]:
        return [event for event in self.trace if event.kind in kinds]

    def mkdir(self, path: Path) -> None:
        self._note("mkdir", path)

    def unlink(self, path: Path) -> None:
        self._note("unlink", path)

    def _ask(self, call: str, path: Path) -> None:
        if call in self.before:
            self.before[call](path)

    def _note(self, kind: Kind, path: Path, other: Path | None = None, data: bytes = b"") -> None:
        self.trace.append(Event(kind, path, other, data))


@contextmanager
def watched() -> Iterator[Kernel]:
    """Within, local directories go through a kernel of ours."""
    kernel = Kernel()
    make, remove = Path.mkdir, Path.unlink

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        fresh = not path.exists()
        make(path, mode, parents, exist_ok)
        if fresh:
            kernel.mkdir(path)

    def unlink(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        kernel._ask("unlink", path)
        remove(path, missing_ok)
        kernel.unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "os", kernel)
        patch.setattr(medium, "os", kernel)
        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr(Path, "unlink", unlink)
        yield kernel


def once(error: OSError) -> Hook:
    """Fails the first time."""
    left = [error]

    def hook(_path: Path) -> None:
        if left:
            raise left.pop()

    return hook


def always(error: OSError) -> Hook:
    """Fails every time."""

    def hook(_path: Path) -> None:
        raise error

    return hook


def at(number: int, error: OSError) -> tuple[Hook, list[int]]:
    """Fails at the n-th call, counted from 1; the list grows by one for every call."""
    calls: list[int] = []

    def hook(_path: Path) -> None:
        calls.append(len(calls) + 1)
        if len(calls) == number:
            raise error

    return hook, calls


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


class _Folder:
    pass


Entry = _File | _Folder


class Medium:
    """A disk that forgets what was not synced."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._now: dict[Path, Entry] = {root: _Folder()}
        self._durable: dict[Path, Entry] = {root: self._now[root]}

    def apply(self, event: Event) -> None:
        path = event.path
        match event.kind:
            case "mkdir":
                self._now[path] = _Folder()
            case "create":
                self._now[path] = _File()
            case "write":
                self._file(path).content += event.data
            case "link":
                assert event.other is not None
                self._now[path] = self._now[event.other]
            case "unlink":
                del self._now[path]
            case "sync":
                self._sync(path)
            case "close" | "note":
                pass

    def surviving(self, fate: Fate) -> Mapping[Path, bytes | None]:
        """Every path below the root after the cut: a file's bytes, None for a folder."""
        entries = self._durable if fate == "lost" else self._now
        found: dict[Path, bytes | None] = {}
        for path in sorted(entries):
            if path == self._root or (path.parent != self._root and path.parent.relative_to(self._root) not in found):
                continue
            found[path.relative_to(self._root)] = self._content(entries[path], fate)
        return found

    def _content(self, entry: Entry, fate: Fate) -> bytes | None:
        if isinstance(entry, _Folder):
            return None
        if fate == "kept":
            return bytes(entry.content)
        kept = 0 if fate == "lost" else (len(entry.content) - len(entry.durable)) // 2
        return entry.durable + bytes(entry.content[len(entry.durable) :][:kept])

    def _file(self, path: Path) -> _File:
        entry = self._now[path]
        assert isinstance(entry, _File)
        return entry

    def _sync(self, path: Path) -> None:
        entry = self._now.get(path)
        if isinstance(entry, _File):
            entry.durable = bytes(entry.content)
        elif isinstance(entry, _Folder):
            inside = {each: at for each, at in self._now.items() if each.parent == path}
            gone = [each for each in self._durable if each.parent == path and each not in inside]
            self._durable.update(inside)
            for each in gone:
                del self._durable[each]


def lay_out(surviving: Mapping[Path, bytes | None], root: Path) -> None:
    """Make these files and folders below a new directory."""
    root.mkdir()
    for path, content in surviving.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may do anything with it."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077
