"""Images that take what is written on top of a disk that an NBD server exports."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nbd

from holdfast.core.errors import FailedError, FullError, RefusedError, no_directory
from holdfast.core.extents import Extent
from holdfast.platforms.errors import is_full
from holdfast.platforms.files.chain import image_device
from holdfast.platforms.files.publishing import sync_directory, writing_failed
from holdfast.platforms.files.qemu_img import add_bitmap, create_image, set_backing
from holdfast.platforms.nbd.server import QemuNbd

RECONNECT_S: Final = 20
"""How long a request waits for a server that went away. QEMU's monitor can wait as long, so it must not be minutes."""
_ZERO_PIECE: Final = 1 << 30


def exported_below(socket: Path, export: str) -> dict[str, Any]:
    """QEMU's description of a disk that is served: what an overlay's header names as its backing."""
    server = {"type": "unix", "path": str(socket)}
    nbd_node = {"driver": "nbd", "server": server, "export": export, "reconnect-delay": RECONNECT_S}
    return {"driver": "raw", "file": nbd_node}


def make_overlay(path: Path, size_bytes: int, *, holes: Sequence[Extent], bitmap: str, backing: dict[str, Any]) -> None:
    """A new image at `path`, durable: zeros where the `holes` are, else what `backing` holds; `bitmap` records.

    The bitmap is clean: what is written from now on sets it, what is fetched from below does not. Raises RefusedError
    if the path exists, NotFoundError without its directory, FullError, FailedError; then nothing is left of it.
    """
    _claim(path)
    try:
        create_image(path, size_bytes, "qcow2")
        if holes:
            _write_zeros(path, holes)
        add_bitmap(path, bitmap)
        set_backing(path, "json:" + json.dumps(backing))
        _make_durable(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def make_scratch_overlay(path: Path, size_bytes: int, backing: dict[str, Any]) -> None:
    """A new image over what `backing` holds, that nobody will miss after a power cut. Raises FullError, FailedError."""
    create_image(path, size_bytes, "qcow2")
    set_backing(path, "json:" + json.dumps(backing))


def _claim(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileNotFoundError as error:
        raise no_directory(path.parent) from error
    except FileExistsError as error:
        raise RefusedError(f"{path} exists", hint="choose another name or --storage", code="exists") from error
    except OSError as error:
        kind = FullError if is_full(error) else FailedError
        raise kind(f"cannot create {path}: {error.strerror}") from error


def _write_zeros(path: Path, holes: Sequence[Extent]) -> None:
    """Zeros that take no room, but hide what lies below."""
    with QemuNbd(str(path), image_device(path, "qcow2"), ["--cache=writeback"]) as server:
        handle = server.export.connect()
        try:
            for start, end in holes:
                for at in range(start, end, _ZERO_PIECE):
                    handle.zero(min(_ZERO_PIECE, end - at), at)
            handle.flush()
        except nbd.Error as error:
            raise server.export.failure(error, "writing zeros") from error
        del handle
        server.stop()


def _make_durable(path: Path) -> None:
    """The file and its name."""
    try:
        with path.open("rb") as image:
            os.fsync(image.fileno())
        sync_directory(path.parent)
    except OSError as error:
        raise writing_failed(path, "making it durable", error) from error
