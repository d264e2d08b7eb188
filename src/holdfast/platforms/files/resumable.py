"""Writing a new image in more than one go: what a try leaves is compared with what is wanted, and completed."""

import os
from collections.abc import Sequence
from pathlib import Path

from holdfast.core.errors import ConflictError, FailedError, RefusedError
from holdfast.core.extents import Extent
from holdfast.core.ports import BlockWriter, EditableDisk
from holdfast.platforms.files.chain import Layer, read_chain, writable_device
from holdfast.platforms.files.publishing import create_draft, lock_draft, require_free
from holdfast.platforms.files.qemu_img import require_whole
from holdfast.platforms.files.raw import raw_size
from holdfast.platforms.files.target import Body, TargetFile, new_body
from holdfast.platforms.nbd.client import NbdWriter
from holdfast.platforms.nbd.disk import EditableNbdDisk
from holdfast.platforms.nbd.server import QemuNbd


class ResumableFile(TargetFile):
    """A TargetDisk that goes on with a draft that is there, and leaves its own behind where it fails.

    The draft may be of any point: what it holds is compared. Two at once are kept apart by a lock on it.
    """

    _left: "_LeftBody | None" = None

    @property
    def left_over(self) -> EditableDisk | None:
        """What the draft held when we came."""
        return self._left.disk if self._left else None

    def _claim(self, image_format: str) -> int:
        del image_format
        require_free(self._path)
        if not os.path.lexists(self._draft):
            file = create_draft(self._path, self._draft)
        else:
            try:
                file = os.open(self._draft, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                raise FailedError(f"cannot go on with {self._draft}: {error.strerror}") from error
        try:
            lock_draft(file, self._draft)
            self._require_still_there(file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _open_body(self, size_bytes: int, image_format: str) -> Body:
        if self._draft.stat().st_size == 0:
            return new_body(self._draft, self._path, size_bytes, image_format)
        self._left = _LeftBody(self._draft, size_bytes, image_format)
        return self._left

    def _require_still_there(self, file: int) -> None:
        """Whoever had the draft before us may have finished or removed it since it was opened."""
        try:
            same = os.path.samestat(os.fstat(file), os.lstat(self._draft))
        except FileNotFoundError:
            same = False
        if not same:
            raise ConflictError(f"another restore has just ended with {self._draft}", hint="run it again", code="busy")

    def _discard(self) -> None:
        """It stays."""

    def _take_back(self) -> None:
        self._path.rename(self._draft)


class _LeftBody:
    """An image that is there, written by qemu-nbd."""

    def __init__(self, draft: Path, size_bytes: int, image_format: str) -> None:
        """Raises RefusedError if it cannot be what an earlier try left, DamagedError if it did not survive that."""
        (layer,) = read_chain(draft, "qcow2" if image_format == "qcow2" else "raw")
        if _size_of(layer) != size_bytes:
            raise RefusedError(
                f"{draft} holds a disk of {_size_of(layer)} bytes, and one of {size_bytes} is to be restored",
                hint="it is not what an earlier try left: remove it, or name another output",
                code="exists",
            )
        if layer.qcow2:
            require_whole(draft)
        self._draft = draft
        self._cut_to = None if layer.qcow2 else size_bytes
        self._server = QemuNbd(str(draft), writable_device((layer,)), ["--discard=unmap", "--cache=writeback"])
        self.disk = EditableNbdDisk(
            name=draft.name,
            size_bytes=size_bytes,
            format=image_format,
            export=self._server.export,
            reason="an earlier restore left it",
            before_writing=lambda: None,
        )

    def reserve(self, extents: Sequence[Extent]) -> None:
        """Most of it is there."""

    def open_writer(self) -> BlockWriter:
        return NbdWriter(self._server.export)

    def complete(self) -> None:
        """A server writes whole sectors; a raw disk may end within one."""
        self._server.stop()
        if self._cut_to is not None:
            os.truncate(self._draft, self._cut_to)

    def abandon(self) -> None:
        self._server.stop()


def _size_of(layer: Layer) -> int:
    return raw_size(layer.path) if layer.qcow2 is None else layer.qcow2.size_bytes
