"""The process behind `mount create --fuse`: the files of a point below a directory of this host, read-only.

`python -m holdfast.bootstrap.fuse_server DESCRIPTOR`: the descriptor is the conversation on which it is told what to
serve, see `outliving`.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

import mfusepy
import msgspec

from holdfast.bootstrap.file_serving import FuseOrder, browsing_handed
from holdfast.bootstrap.memory import forbid_core_dumps
from holdfast.core.errors import HoldfastError, NotFoundError, RefusedError
from holdfast.core.progress import Silence
from holdfast.filesystems import Entry
from holdfast.jobs.browse import Browser
from holdfast.jobs.notes import Notes
from holdfast.platforms.outliving import answer_failure, answer_ready

if TYPE_CHECKING:
    from holdfast.mover.random_access import OpenedFile

_FOREVER_S: Final = 86400
"""A point does not change: the kernel may remember what it was told."""
_NAMELESS: Final = {"link": stat.S_IFLNK | 0o777, "dir": stat.S_IFDIR | 0o755, "file": stat.S_IFREG | 0o644}


class Files(mfusepy.Operations):  # type: ignore[misc]  # it has no types
    """The kernel's questions, answered."""

    use_ns = True

    def __init__(self, browser: Browser, conversation: Connection, notes: Notes) -> None:
        self._browser = browser
        self._conversation = conversation
        self._notes = notes
        self._opened: dict[int, OpenedFile] = {}
        self._numbers = count(1)

    def init(self, path: str) -> None:
        """It is mounted: whoever waits for that is told."""
        del path
        if not answer_ready(self._conversation, self._notes.warnings):
            os._exit(1)
        self._conversation.close()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """lstat(2)."""
        del fh
        with _answering(path):
            found = self._browser.look(os.fsencode(path))
        return _attributes(found)

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        """Names of a directory."""
        del fh
        with _answering(path):
            entries = self._browser.entries(os.fsencode(path))
        return iter([".", "..", *(os.fsdecode(entry.path.rpartition(b"/")[2]) for entry in entries)])

    def readlink(self, path: str) -> str:
        """Where a link leads; absolute ones lead out of the mount, as they do in the guest."""
        with _answering(path):
            return os.fsdecode(self._browser.look(os.fsencode(path)).target or b"")

    def open(self, path: str, flags: int) -> int:
        """A file, to be read only: the mount is."""
        del flags
        with _answering(path):
            opened = self._browser.open(os.fsencode(path))
        number = next(self._numbers)
        self._opened[number] = opened
        return number

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Some of a file. What cannot be proved is an I/O error, never other bytes."""
        with _answering(path):
            return self._opened[fh].read(offset, size)

    def release(self, path: str, fh: int) -> int:
        """The file is closed."""
        del path
        self._opened.pop(fh, None)
        return 0

    def listxattr(self, path: str) -> Sequence[str]:
        """Names of extended attributes."""
        with _answering(path):
            return list(self._browser.xattrs(os.fsencode(path)))

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """One extended attribute."""
        del position
        with _answering(path):
            found = self._browser.xattrs(os.fsencode(path)).get(name)
        if found is None:
            raise mfusepy.FuseOSError(errno.ENODATA)
        return found


def main() -> None:
    """Serve until the directory is unmounted."""
    forbid_core_dumps()
    conversation = Connection(int(sys.argv[1]))
    order = msgspec.msgpack.decode(conversation.recv_bytes(), type=FuseOrder)
    notes = Notes(Silence())
    try:
        with browsing_handed(order, notes) as (point, browser):
            mfusepy.FUSE(
                Files(browser, conversation, notes),
                order.directory,
                foreground=True,
                ro=True,
                nosuid=True,
                nodev=True,
                default_permissions=True,
                fsname=f"holdfast:{point.machine}@{point.id}",
                subtype="holdfast",
                attr_timeout=_FOREVER_S,
                entry_timeout=_FOREVER_S,
            )
    except HoldfastError as error:
        answer_failure(conversation, error)


def _attributes(entry: Entry) -> dict[str, Any]:
    return {
        "st_mode": entry.mode if stat.S_IFMT(entry.mode) else _NAMELESS.get(entry.kind, stat.S_IFREG),
        "st_size": entry.size,
        "st_uid": entry.uid,
        "st_gid": entry.gid,
        "st_nlink": entry.links,
        "st_rdev": os.makedev(*entry.device) if entry.device else 0,
        "st_mtime": entry.modified_ns,
        "st_ctime": entry.modified_ns,
        "st_atime": entry.modified_ns,
        "st_blocks": -(-entry.size // 512),
    }


@contextmanager
def _answering(path: str) -> Iterator[None]:
    """Within, an error becomes the number that the kernel knows, and the log says what it was."""
    try:
        yield
    except NotFoundError as error:
        raise mfusepy.FuseOSError(errno.ENOENT) from error
    except RefusedError as error:
        _tell(path, error)
        raise mfusepy.FuseOSError(errno.EOPNOTSUPP) from error
    except HoldfastError as error:
        _tell(path, error)
        raise mfusepy.FuseOSError(errno.EIO) from error


def _tell(path: str, error: HoldfastError) -> None:
    sys.stderr.write(f"holdfast: {path!r}: {error.message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
