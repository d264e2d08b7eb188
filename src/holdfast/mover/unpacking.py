"""Where files that come out of a point go: onto a file system of this host, with all that Unix says of them.

Whatever the guest's names and links are, nothing outside the new directory is touched: names hold no `/`, every
directory is new and ours, and links are made last, when nothing more is written below them.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from holdfast.core.errors import FailedError, FullError, RefusedError, no_directory
from holdfast.filesystems import Entry
from holdfast.mover.contents import Piece

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class Destination(Protocol):
    """What takes files, directories before what they hold. `path` is where a file goes, relative; b"" is the top.

    `lost` counts what could not be kept, by what it was. Where second names are not known, a file is added again.
    """

    knows_second_names: bool
    lost: dict[str, int]

    @property
    def output(self) -> str:
        """Where it will be."""

    def add_directory(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """A directory."""

    def add_file(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes], pieces: Iterable[Piece]) -> None:
        """A file and its bytes, in order. If those cannot be had, nothing of the file is left."""

    def add_again(self, path: bytes, entry: Entry, first: bytes) -> None:
        """Another name of a file that was added as `first`."""

    def add_other(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """A link, a device, a pipe."""

    def finish(self) -> None:
        """All is there: give it its final name."""

    def abandon(self) -> None:
        """Remove what was written; never raises."""


class Unpacked:
    """A file or a directory at a path, under another name until it is whole."""

    knows_second_names = True

    def __init__(self, output: bytes) -> None:
        """Raises RefusedError if there is something already, NotFoundError if there is no directory for it."""
        require_directory(output)
        refuse_existing(output)
        self._output = output
        self._draft = output + b".partial"
        self._begun = False
        self._links: list[tuple[bytes, Entry, Mapping[str, bytes]]] = []
        self._directories: list[tuple[bytes, Entry, Mapping[str, bytes]]] = []
        self._is_root = os.geteuid() == 0
        self.lost: dict[str, int] = {}

    @property
    def output(self) -> str:
        """See Destination."""
        return os.fsdecode(self._output)

    def add_directory(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        place = self._place(path)
        with told(place):
            os.mkdir(place, 0o700)  # noqa: PTH102 - paths of bytes
        self._begun = True
        self._directories.append((place, entry, xattrs))

    def add_file(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes], pieces: Iterable[Piece]) -> None:
        """See Destination."""
        place = self._place(path)
        with told(place):
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._begun = True
        try:
            for piece in pieces:
                if piece.content is not None:
                    with told(place):
                        _write(file, piece.start, memoryview(piece.content))
            with told(place):
                os.ftruncate(file, entry.size)
                self._adorn(place, entry, xattrs)
        except BaseException:
            os.unlink(place)  # noqa: PTH108
            raise
        finally:
            os.close(file)

    def add_again(self, path: bytes, entry: Entry, first: bytes) -> None:
        """See Destination."""
        del entry
        with told(self._place(path)):
            os.link(self._place(first), self._place(path), follow_symlinks=False)

    def add_other(self, path: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """See Destination."""
        self._links.append((self._place(path), entry, xattrs))

    def finish(self) -> None:
        """See Destination."""
        for place, entry, xattrs in self._links:
            self._make_other(place, entry, xattrs)
        for place, entry, xattrs in reversed(self._directories):
            with told(place):
                self._adorn(place, entry, xattrs)
        refuse_existing(self._output)
        with told(self._output):
            os.rename(self._draft, self._output)  # noqa: PTH104

    def abandon(self) -> None:
        """See Destination."""
        if self._begun:
            _remove(self._draft)

    def _place(self, path: bytes) -> bytes:
        return self._draft + b"/" + path if path else self._draft

    def _make_other(self, place: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        kind = stat.S_IFMT(entry.mode)
        with told(place):
            if entry.target is not None:
                os.symlink(entry.target, place)  # noqa: PTH211
            elif kind == stat.S_IFIFO:
                os.mkfifo(place, 0o600)
            elif kind in {stat.S_IFCHR, stat.S_IFBLK} and entry.device and self._is_root:
                os.mknod(place, kind | 0o600, os.makedev(*entry.device))
            else:
                self._lose("devices and sockets")
                return
            self._adorn(place, entry, xattrs)

    def _adorn(self, place: bytes, entry: Entry, xattrs: Mapping[str, bytes]) -> None:
        """Owner, extended attributes, mode, times: in this order, as each may undo those after it."""
        if self._is_root:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        elif (entry.uid, entry.gid) != (os.geteuid(), os.getegid()):
            self._lose("owners")
        for name, value in xattrs.items():
            try:
                os.setxattr(place, os.fsencode(name), value, follow_symlinks=False)
            except OSError:
                self._lose("extended attributes")
        if entry.target is None:
            os.chmod(place, entry.mode & 0o7777)  # noqa: PTH101
        os.utime(place, ns=(entry.modified_ns, entry.modified_ns), follow_symlinks=False)

    def _lose(self, what: str) -> None:
        self.lost[what] = self.lost.get(what, 0) + 1


def require_directory(output: bytes) -> None:
    """Raise NotFoundError unless there is a directory for it."""
    directory = os.path.dirname(output) or b"."  # noqa: PTH120 - paths of bytes
    if not os.path.isdir(directory):  # noqa: PTH112
        raise no_directory(Path(os.fsdecode(directory)))


def refuse_existing(output: bytes) -> None:
    """Raise RefusedError if there is something, also a link to nothing."""
    if os.path.lexists(output):
        raise RefusedError(
            f"{os.fsdecode(output)} exists", hint="name a path that does not: nothing is replaced", code="exists"
        )


@contextmanager
def told(place: bytes) -> Iterator[None]:
    """Within, what the system refuses is told with the path."""
    try:
        yield
    except OSError as error:
        message = f"{os.fsdecode(place)}: {error.strerror}"
        if error.errno in _FULL:
            raise FullError(message, hint="make room or name another output", code="not-written") from error
        raise FailedError(message, code="not-written") from error


def _write(file: int, start: int, content: memoryview) -> None:
    while content:
        done = os.pwrite(file, content, start)
        content, start = content[done:], start + done


def _remove(place: bytes) -> None:
    """A tree of ours, whose directories may be closed to us, without following anything."""
    try:
        status = os.lstat(place)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(place)  # noqa: PTH108
            return
        os.chmod(place, 0o700)  # noqa: PTH101
        for name in os.listdir(place):  # noqa: PTH208
            _remove(place + b"/" + name)
        os.rmdir(place)  # noqa: PTH106
    except OSError:
        return
