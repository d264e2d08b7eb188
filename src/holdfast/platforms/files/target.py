"""Writing a new image, under a name that shows it is not whole until it is."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from holdfast.core.errors import FailedError, HoldfastError, RefusedError
from holdfast.core.extents import Extent
from holdfast.core.pieces import MOST_AT_ONCE, behind
from holdfast.core.ports import BlockWriter, EditableDisk
from holdfast.platforms.files.allocation import allocate
from holdfast.platforms.files.chain import image_device
from holdfast.platforms.files.publishing import (
    create_draft,
    exists_already,
    give_name,
    lock_draft,
    require_free,
    sync_directory,
    writing_failed,
)
from holdfast.platforms.files.qemu_img import ImageKind, create_image
from holdfast.platforms.files.vmdk import rename_extent
from holdfast.platforms.nbd.client import NbdWriter
from holdfast.platforms.nbd.server import QemuNbd

_WORTH_RESERVING: Final = 1024 * 1024
_WORTH_WAITING: Final = 128 * 1024


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
        self._file = self._claim(image_format)
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
            give_name(self._draft, self._path)
            self._finished = True
            sync_directory(self._path.parent)
        except FileExistsError as error:
            raise exists_already(self._path) from error
        except OSError as error:
            self.withdraw()
            raise writing_failed(self._path, "finishing", error) from error
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

    def _claim(self, image_format: str) -> int:
        """The draft's file, which nobody else has then: neither does a restore that would resume it.

        Of other images than raw ones, qemu-nbd's locks see to that; where locks are shared with it, as on NFS, one of
        ours would keep it out.
        """
        require_free(self._path)
        file = create_draft(self._path, self._draft)
        if image_format == "raw":
            try:
                with contextlib.suppress(FailedError):  # no locks here: then nobody resumes either
                    lock_draft(file, self._draft)
            except BaseException:
                os.close(file)
                raise
        return file

    def _open_body(self, size_bytes: int, image_format: str) -> Body:
        return new_body(self._draft, self._path, size_bytes, image_format)

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


def new_body(draft: Path, path: Path, size_bytes: int, image_format: str) -> Body:
    """An empty image in the file of the draft. Raises RefusedError for a format that is not written, FullError."""
    match image_format:
        case "raw":
            return _RawBody(draft, size_bytes)
        case "qcow2" | "vhdx":
            return _ServedBody(draft, size_bytes, image_format)
        case "vmdk":
            return _VmdkBody(draft, path.name, size_bytes)
        case _:
            raise RefusedError(
                f"cannot write a {image_format} image", hint="choose raw, qcow2, vmdk or vhdx", code="format"
            )


class _RawBody:
    """A sparse file of the disk's exact size."""

    def __init__(self, draft: Path, size_bytes: int) -> None:
        self._draft = draft
        try:
            os.truncate(draft, size_bytes)
        except OSError as error:
            raise writing_failed(draft, f"making it {size_bytes} bytes long", error) from error

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Blocks given out in long runs lie together, and a write finds its own without waiting for other writes."""
        try:
            with self._draft.open("r+b") as file:
                for start, end in extents:
                    if end - start >= _WORTH_RESERVING:
                        allocate(file.fileno(), start, end - start)
        except OSError as error:
            raise writing_failed(self._draft, "making room", error) from error

    def open_writer(self) -> BlockWriter:
        return _RawWriter(self._draft)

    def complete(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing runs."""


class _RawWriter:
    """A BlockWriter into a file, past the page cache where the file system, and the alignment of a write, let it.

    What is restored is not read again at once: through the cache each byte is copied once more, and is waited for all
    the same when the file is synced. Small pieces go through it all the same: past it each is waited for alone, while
    the cache brings them to the device in order and many at a time.
    """

    def __init__(self, draft: Path) -> None:
        self._draft = draft
        try:
            self._cached = os.open(draft, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise writing_failed(draft, "opening", error) from error
        self._direct = _open_direct(draft)

    def write(self, offset: int, *pieces: memoryview) -> None:
        rest = list(pieces)
        while rest:
            try:
                count = self._write_some(offset, rest[:MOST_AT_ONCE])
            except OSError as error:
                raise writing_failed(self._draft, f"writing at {offset}", error) from error
            offset, rest = offset + count, behind(rest, count)

    def _write_some(self, offset: int, pieces: Sequence[memoryview]) -> int:
        if self._direct >= 0 and sum(map(len, pieces)) >= _WORTH_WAITING:
            try:
                return os.pwritev(self._direct, pieces, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # what is not aligned
                    raise
        return os.pwritev(self._cached, pieces, offset)

    def close(self) -> None:
        files = [file for file in (self._cached, self._direct) if file >= 0]
        self._cached = self._direct = -1
        try:
            for file in files:
                os.close(file)
        except OSError as error:
            raise writing_failed(self._draft, "closing", error) from error


def _open_direct(draft: Path) -> int:
    """A descriptor that writes past the page cache; -1 where there is no such thing."""
    try:
        return os.open(draft, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return -1


class _ServedBody:
    """An image of a format that qemu-nbd writes."""

    def __init__(self, draft: Path, size_bytes: int, image_format: ImageKind) -> None:
        create_image(draft, size_bytes, image_format)
        self._server = QemuNbd(str(draft), image_device(draft, image_format), ["--cache=writeback"])

    def reserve(self, extents: Sequence[Extent]) -> None:
        """The image grows as it is written."""

    def open_writer(self) -> BlockWriter:
        return NbdWriter(self._server.export)

    def complete(self) -> None:
        self._server.stop()

    def abandon(self) -> None:
        self._server.close()


class _VmdkBody(_ServedBody):
    """A VMDK in one file. Its descriptor holds the file's own name, which is the draft's at first."""

    def __init__(self, draft: Path, name: str, size_bytes: int) -> None:
        super().__init__(draft, size_bytes, "vmdk")
        self._draft = draft
        self._name = name

    def complete(self) -> None:
        super().complete()
        rename_extent(self._draft, self._draft.name, self._name)
