"""Writing a new image, under a name that shows it is not whole until it is."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from holdfast.core.errors import FailedError, FullError, HoldfastError, NotFoundError, RefusedError
from holdfast.core.extents import Extent
from holdfast.core.ports import BlockWriter, EditableDisk
from holdfast.platforms.errors import is_full
from holdfast.platforms.files.allocation import allocate
from holdfast.platforms.files.chain import image_device
from holdfast.platforms.files.qemu_img import create_qcow2
from holdfast.platforms.nbd.client import NbdWriter
from holdfast.platforms.nbd.server import QemuNbd

_WORTH_RESERVING: Final = 1024 * 1024


class Body(Protocol):
    """How the bytes get into the draft."""

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Make room in advance, if that helps."""

    def open_writer(self) -> BlockWriter:
        """A writer for one thread."""

    def complete(self) -> None:
        """Hand all bytes to the kernel."""

    def abandon(self) -> None:
        """Stop whatever writes."""


class TargetFile:
    """A TargetDisk that is a file: `PATH.partial`, empty and all zeros at first, until `finish` names it `PATH`."""

    def __init__(self, path: Path, size_bytes: int, image_format: str) -> None:
        """Create the draft. Raises RefusedError if anything is in the way, NotFoundError, FullError, FailedError."""
        self._path = path
        self._draft = path.with_name(path.name + ".partial")
        self._finished = False
        # Open from the first to the last, so that no error of writing it back is reported to nobody.
        self._file = self._claim()
        try:
            self._body = self._open_body(size_bytes, image_format)
        except BaseException:
            self._discard()
            self._let_go()
            raise

    @property
    def output(self) -> str:
        """The final path."""
        return str(self._path)

    @property
    def left_over(self) -> EditableDisk | None:
        """Nothing: it is all zeros."""
        return None

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Make room where much is about to be written. Raises FullError, FailedError."""
        self._body.reserve(extents)

    def open_writer(self) -> BlockWriter:
        """A writer for one thread."""
        return self._body.open_writer()

    def finish(self) -> None:
        """Sync the draft, then name it. Raises RefusedError if something took the name, FullError, FailedError."""
        self._body.complete()
        try:
            os.fsync(self._file)
            _publish(self._draft, self._path)
            self._finished = True
            _sync_directory(self._path.parent)
        except FileExistsError as error:
            raise _exists(self._path) from error
        except OSError as error:
            self.withdraw()
            raise _writing_failed(self._path, "finishing", error) from error
        self._let_go()

    def abandon(self) -> None:
        """Remove the draft. Never raises."""
        with contextlib.suppress(OSError, HoldfastError):
            self._body.abandon()
        self._discard()
        self._let_go()

    def withdraw(self) -> None:
        """Remove it, finished or not: what it was made for does not come to be. Never raises."""
        self.abandon()
        if self._finished:
            with contextlib.suppress(OSError):
                self._take_back()

    def _claim(self) -> int:
        """The draft's file, which nobody else has then."""
        require_free(self._path)
        return create_draft(self._path, self._draft)

    def _open_body(self, size_bytes: int, image_format: str) -> Body:
        return new_body(self._draft, size_bytes, image_format)

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _take_back(self) -> None:
        """The final name is given up again. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def new_body(draft: Path, size_bytes: int, image_format: str) -> Body:
    """An empty image in the file of the draft. Raises RefusedError for a format that is not written, FullError."""
    match image_format:
        case "raw":
            return _RawBody(draft, size_bytes)
        case "qcow2":
            return _Qcow2Body(draft, size_bytes)
        case _:
            raise RefusedError(f"cannot write a {image_format} image", hint="choose raw or qcow2")


class _RawBody:
    """A sparse file of the disk's exact size."""

    def __init__(self, draft: Path, size_bytes: int) -> None:
        self._draft = draft
        try:
            os.truncate(draft, size_bytes)
        except OSError as error:
            raise _writing_failed(draft, f"making it {size_bytes} bytes long", error) from error

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Blocks given out in long runs lie together, and a write finds its own without waiting for other writes."""
        try:
            with self._draft.open("r+b") as file:
                for start, end in extents:
                    if end - start >= _WORTH_RESERVING:
                        allocate(file.fileno(), start, end - start)
        except OSError as error:
            raise _writing_failed(self._draft, "making room", error) from error

    def open_writer(self) -> BlockWriter:
        return _RawWriter(self._draft)

    def complete(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing runs."""


class _RawWriter:
    """A BlockWriter into a file, past the page cache where the file system, and the alignment of a write, let it.

    What is restored is not read again at once: through the cache each byte is copied once more, and is waited for all
    the same when the file is synced.
    """

    def __init__(self, draft: Path) -> None:
        self._draft = draft
        try:
            self._cached = os.open(draft, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _writing_failed(draft, "opening", error) from error
        self._direct = _open_direct(draft)

    def write(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                done += self._write_some(offset + done, buffer[done:])
            except OSError as error:
                raise _writing_failed(self._draft, f"writing at {offset + done}", error) from error

    def _write_some(self, offset: int, buffer: memoryview) -> int:
        if self._direct >= 0:
            try:
                return os.pwrite(self._direct, buffer, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # what is not aligned
                    raise
        return os.pwrite(self._cached, buffer, offset)

    def close(self) -> None:
        files = [file for file in (self._cached, self._direct) if file >= 0]
        self._cached = self._direct = -1
        try:
            for file in files:
                os.close(file)
        except OSError as error:
            raise _writing_failed(self._draft, "closing", error) from error


def _open_direct(draft: Path) -> int:
    """A descriptor that writes past the page cache; -1 where there is no such thing."""
    try:
        return os.open(draft, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return -1


class _Qcow2Body:
    """A qcow2 image that qemu-nbd writes."""

    def __init__(self, draft: Path, size_bytes: int) -> None:
        create_qcow2(draft, size_bytes)
        self._server = QemuNbd(str(draft), image_device(draft, "qcow2"), ["--cache=writeback"])

    def reserve(self, extents: Sequence[Extent]) -> None:
        """The image grows as it is written."""

    def open_writer(self) -> BlockWriter:
        return NbdWriter(self._server.export)

    def complete(self) -> None:
        self._server.stop()

    def abandon(self) -> None:
        self._server.close()


def require_free(path: Path) -> None:
    """Raise RefusedError unless the final name is free, and in a place for files."""
    if path.parent.is_relative_to("/dev") and not path.parent.is_relative_to("/dev/shm"):  # noqa: S108 - not ours
        raise RefusedError(
            f"{path} is no place for a file: what is written below /dev lies in memory",
            hint="name a file in another directory",
        )
    if path.exists() or path.is_symlink():
        raise _exists(path)


def create_draft(path: Path, draft: Path) -> int:
    """Create and open the draft's file."""
    try:
        return os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise NotFoundError(f"directory {path.parent} does not exist", hint="create it or name another") from error
    except FileExistsError as error:
        raise RefusedError(
            f"{draft} exists, left by a restore that was interrupted or is still running",
            hint="go on with it (--resume), remove it if no restore is running, or name another output",
            code="exists",
        ) from error
    except OSError as error:
        raise _writing_failed(path, "creating", error) from error


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its final name without ever replacing what has that name. Raises FileExistsError, OSError."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:
        # FAT and its kin have no hard links: an empty file claims the name for the moment until the rename.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        draft.replace(path)
    else:
        draft.unlink()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exists(path: Path) -> RefusedError:
    return RefusedError(f"{path} exists", hint="name another output; nothing is ever overwritten", code="exists")


def _writing_failed(path: Path, action: str, error: OSError) -> HoldfastError:
    if is_full(error):
        return FullError(f"{path}: no space left, {action}", hint="make room or name another output")
    return FailedError(f"{path}: {action}: {error.strerror}")
