"""A block device that is overwritten with a disk: what it holds is compared, and only what differs is written."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from holdfast.core.errors import ConflictError, FailedError, RefusedError
from holdfast.core.extents import Extent
from holdfast.core.ports import BlockWriter, EditableDisk
from holdfast.platforms.files.chain import Layer, writable_device
from holdfast.platforms.files.raw import raw_size
from holdfast.platforms.nbd.client import NbdWriter
from holdfast.platforms.nbd.disk import EditableNbdDisk
from holdfast.platforms.nbd.server import QemuNbd


class DeviceTarget:
    """A TargetDisk that is a block device. It has no other name while it is written: who writes to it must say so."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Raises RefusedError if it is too small, ConflictError if it is mounted or in use."""
        self._path = path
        if (there := raw_size(path)) < size_bytes:
            raise RefusedError(
                f"{path} has {there} bytes, and the disk {size_bytes}", hint="take a larger device", code="geometry"
            )
        self._device = _open_alone(path)
        try:
            self._server = QemuNbd(str(path), writable_device((Layer(path=path, qcow2=None),)), ["--discard=unmap"])
        except BaseException:
            os.close(self._device)
            raise
        self._disk = EditableNbdDisk(
            name=path.name,
            size_bytes=size_bytes,
            format="raw",
            export=self._server.export,
            reason="a device that holds something",
            before_writing=lambda: None,
        )

    @property
    def output(self) -> str:
        """Its path."""
        return str(self._path)

    @property
    def left_over(self) -> EditableDisk | None:
        """What it holds."""
        return self._disk

    def reserve(self, extents: Sequence[Extent]) -> None:
        """It has its room."""

    def open_writer(self) -> BlockWriter:
        """A writer for one thread."""
        return NbdWriter(self._server.export)

    def finish(self) -> None:
        """Sync it. Raises FailedError."""
        self._server.stop()
        try:
            os.fsync(self._device)
        except OSError as error:
            raise FailedError(f"{self._path}: syncing: {error.strerror}") from error
        finally:
            self._let_go()

    def abandon(self) -> None:
        """What was written stays: nobody could tell what was there. Never raises."""
        self._server.close()
        self._let_go()

    def _let_go(self) -> None:
        device, self._device = self._device, -1
        if device >= 0:
            os.close(device)


def _open_alone(path: Path) -> int:
    """A descriptor that keeps others from mounting it. Raises ConflictError if one has, FailedError."""
    try:
        device = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ConflictError(f"{path} is mounted or in use", hint="unmount it first", code="in-use") from error
        raise FailedError(f"cannot open {path}: {error.strerror}", hint="check its permissions") from error
    assert stat.S_ISBLK(os.fstat(device).st_mode)
    return device
