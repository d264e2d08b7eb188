"""A local directory as storage.

How an object becomes durable, in order: exclusive draft in `tmp/`, written whole, synced, a share of it read back past
the page cache, linked to its final name (which fails if the name is taken), parent directory synced, draft unlinked.
A file whose fsync failed is thrown away and written anew from memory: the kernel may have dropped its dirty pages, and
a second fsync of the same file can then succeed without them.

Drafts of dead processes are recognised by their lock, not by a clock: each draft is locked for its life, so one that
can be locked belongs to nobody. Whoever is about to write for the first time sweeps them away.
"""

import errno
import fcntl
import os
import random
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from holdfast.core.errors import NotFoundError
from holdfast.core.pieces import MOST_AT_ONCE, behind
from holdfast.repository.storage.directory_ballast import DirectoryBallast
from holdfast.repository.storage.file_errors import FULL, errors_naming
from holdfast.repository.storage.medium import MOST_BYTES, Medium
from holdfast.repository.storage.occupied import occupied
from holdfast.repository.storage.port import (
    MAXIMUM_OBJECT_BYTES,
    Bytes,
    ObjectExistsError,
    StorageError,
    Stored,
)

_DRAFTS = "tmp"
_BALLAST = "ballast"
_PROBE_BYTES = 128 * 1024
_LARGE_BYTES = 1024 * 1024


class LocalDirectory:
    """Objects as files below one directory. Thread- and process-safe by the file system's own create-only link."""

    puts_at_once = 1
    reads_at_once = 1
    object_lock = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)
        self.ballast = DirectoryBallast(path / _BALLAST)
        self._synced: set[Path] = {path}

    @classmethod
    def create(cls, path: Path) -> "LocalDirectory":
        """Make an empty directory for a new repository. Raises NotFoundError (parent), RefusedError (not empty)."""
        path = path.absolute()
        if not path.parent.is_dir():
            raise NotFoundError(f"{path.parent} does not exist", hint="create the parent directory first")
        with errors_naming(path):
            path.mkdir(mode=0o700, exist_ok=True)
            if found := {each.name for each in path.iterdir()}:
                raise occupied(str(path), found)
            _sync(path.parent)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "LocalDirectory":
        """An existing repository's directory. Raises NotFoundError, DeniedError."""
        path = path.absolute()
        with errors_naming(path):
            if not path.is_dir():
                raise NotFoundError(
                    f"there is no repository at {path}", hint="check the path, or `holdfast repository create` one"
                )
        return cls(path)

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """See the port. Anything but a full disk is tried once more from memory before it is an error."""
        final = self.path / name
        with errors_naming(final):
            self._ensure_directory(final.parent)
            try:
                draft = self._draft(parts, verify_share)
            except OSError as error:
                if error.errno in FULL:
                    raise
                draft = self._draft(parts, verify_share)
            with draft:
                draft.publish(final, parts)

    def get(self, name: str) -> bytes:
        """See the port."""
        file = self.path / name
        with errors_naming(file):
            if (size := file.stat().st_size) > MAXIMUM_OBJECT_BYTES:
                message = f"{file} is {size} bytes large, no object of a repository is"
                raise StorageError(message, hint="run `holdfast repository check`", code="oversized")
            return file.read_bytes()

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """See the port."""
        file = self.path / name
        with errors_naming(file):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                done = 0
                while done < len(buffer):
                    count = os.preadv(descriptor, [buffer[done:]], offset + done)
                    if count == 0:
                        message = f"{name} ends at byte {offset + done}, {offset + len(buffer)} were needed"
                        raise StorageError(message, hint="run `holdfast repository check`", code="truncated")
                    done += count
            finally:
                os.close(descriptor)

    def size(self, name: str) -> int:
        """See the port."""
        file = self.path / name
        with errors_naming(file):
            return file.stat().st_size

    def delete(self, *names: str) -> None:
        """See the port. A missing name is synced too: whoever removed it may not have come to that."""
        finals = [self.path / name for name in names]
        for final in finals:
            with errors_naming(final), suppress(FileNotFoundError, NotADirectoryError):
                final.unlink()
        for folder in dict.fromkeys(final.parent for final in finals):
            with errors_naming(folder), suppress(FileNotFoundError, NotADirectoryError):
                _sync(folder)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See the port."""
        top = self.path / prefix
        with errors_naming(top):
            if top.is_dir():
                _sync(top)  # whoever named an object may not have come to it yet, and may never
            for folder, folders, names in os.walk(top, onerror=_raise_unless_missing):
                below = os.path.relpath(folder, self.path)
                if below == os.curdir:
                    below = ""
                    folders[:] = [name for name in folders if name not in {_DRAFTS, _BALLAST}]
                for name in names:
                    file = os.path.join(below, name)  # noqa: PTH118 - there may be a million of them
                    with suppress(FileNotFoundError):  # deleted since its folder was read
                        yield Stored(file, os.stat(f"{self.path}/{file}").st_size)  # noqa: PTH116 - likewise

    def _draft(self, parts: Sequence[Bytes], verify_share: float) -> "_Draft":
        draft = _Draft(self._drafts())
        try:
            draft.write(parts)
            draft.read_back(parts, verify_share)
        except BaseException:
            draft.__exit__()
            raise
        return draft

    def _drafts(self) -> Path:
        """The directory of drafts, swept before its first use."""
        folder = self.path / _DRAFTS
        if folder not in self._synced:
            self._ensure_directory(folder)
            _sweep(folder)
        return folder

    def _ensure_directory(self, folder: Path) -> None:
        """Exists, and its own name is durable: another process may have made it and not yet synced its parent."""
        if folder in self._synced:
            return
        self._ensure_directory(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)
        self._synced.add(folder)


class _Draft:
    """A file that has no final name yet."""

    def __init__(self, folder: Path) -> None:
        while True:
            self.path = folder / secrets.token_hex(12)
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            if os.fstat(self.descriptor).st_nlink:
                return
            os.close(self.descriptor)  # somebody swept it away before it was locked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)

    def write(self, parts: Sequence[Bytes]) -> None:
        """Write all of it, however short the kernel's writes are, and sync."""
        rest = [memoryview(part).cast("B") for part in parts if len(part)]
        while rest:
            rest = behind(rest, os.writev(self.descriptor, rest[:MOST_AT_ONCE]))
        os.fsync(self.descriptor)

    def read_back(self, parts: Sequence[Bytes], share: float) -> None:
        """Compare a random share with memory, from the medium."""
        if share >= 1 and sum(map(len, parts)) >= _LARGE_BYTES:
            # It was moved by a collection, and is not read soon: what is should not have to leave the cache for it.
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with Medium(self.path) as medium:
            at = 0
            for part in parts:
                view = memoryview(part).cast("B")
                for probe in _probes(len(view), share):
                    expected = view[probe]
                    found = medium.read(at + probe.start, len(expected))
                    if bytes(found) != bytes(expected):  # views compare item by item
                        raise OSError(errno.EIO, "what was read back differs from what was written", str(self.path))
                at += len(view)

    def publish(self, final: Path, parts: Sequence[Bytes]) -> None:
        """Give it its name. If the name is taken by the same bytes, an earlier try of ours had succeeded."""
        try:
            os.link(self.path, final)
        except FileExistsError:
            if final.stat().st_size != sum(map(len, parts)) or final.read_bytes() != b"".join(parts):
                raise ObjectExistsError(f"{final} exists with other content") from None
            _sync(final)
        _sync(final.parent)


def _probes(length: int, share: float) -> Iterator[slice]:
    """The probes of a part, ascending: all of it, or a random choice that makes up the share."""
    size = MOST_BYTES if share >= 1 else _PROBE_BYTES
    starts = range(0, length, size)
    count = min(len(starts), -(-int(length * share) // size))
    return (slice(start, start + size) for start in sorted(random.sample(starts, count)))


def _sweep(folder: Path) -> None:
    """Remove drafts whose process is dead. What cannot be removed is left: it does no harm. Follows no link."""
    if folder.is_symlink():
        return
    with suppress(OSError):
        for draft in folder.iterdir():
            with suppress(OSError), draft.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise error
