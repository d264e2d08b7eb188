"""An image and everything it stands on, established without trusting the image's content more than it deserves.

A guest can write a qcow2 header into its own raw disk, with any file of the host as "backing file". So:

- a format is what the operator declared: a machine's definition, or the file's suffix (`declared_format`);
- without a declaration a block device is raw, as nearly all are;
- without a declaration the first bytes of a file decide, but then one that refers to any other file is refused;
- a backing file's format comes from the qcow2 header above it (which no guest can write); where it is missing, the
  image is refused rather than probed;
- QEMU gets the whole chain spelled out, with drivers and plain files, and so has nothing left to find out.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from holdfast.core.errors import FailedError, NotFoundError, RefusedError
from holdfast.platforms.files.qcow2 import Qcow2, has_magic, read_qcow2
from holdfast.platforms.files.qemu_img import ImageKind

ImageFormat = Literal["raw", "qcow2"]

_BY_SUFFIX: dict[str, ImageFormat] = {".raw": "raw", ".qcow2": "qcow2", ".qcow": "qcow2", ".qc2": "qcow2"}
_DEEPEST = 200  # libvirt's own limit; a loop is found by identity long before
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One image of a chain. `qcow2` is its header, None for raw."""

    path: Path
    qcow2: Qcow2 | None

    @property
    def format(self) -> ImageFormat:
        """How the file holds its disk."""
        return "raw" if self.qcow2 is None else "qcow2"


Chain = tuple[Layer, ...]  # top first


def declared_format(path: Path) -> ImageFormat | None:
    """What the file's suffix says, which its owner chose and no guest can."""
    return _BY_SUFFIX.get(path.suffix.lower())


def read_chain(path: Path, image_format: ImageFormat | None) -> Chain:
    """The image at `path` and what it stands on; `image_format` None means that nobody declared one.

    Raises NotFoundError, FailedError (unreadable), DamagedError, or RefusedError for what is no image or not safe.
    """
    layers: list[Layer] = []
    seen: set[tuple[int, int]] = set()
    declared, at, wanted_by = image_format is not None, path, ""
    while True:
        identity = _identify(at, wanted_by)
        if identity in seen or len(layers) >= _DEEPEST:
            raise RefusedError(
                f"{path}: its backing files form a loop at {at}", hint="repair the chain: qemu-img rebase"
            )
        seen.add(identity)
        layer = _read_layer(at, image_format)
        layers.append(layer)
        if layer.qcow2 is None or layer.qcow2.backing_file is None:
            return tuple(layers)
        if not declared:
            raise RefusedError(
                f"{path} looks like a qcow2 image on top of {layer.qcow2.backing_file}, but its name does not say so, "
                "and a guest can write such a header into a raw disk",
                hint="rename it to end in .qcow2 if that is what it is, or in .raw if it is a raw disk",
                code="ambiguous-format",
            )
        wanted_by = f" (backing file of {at})"
        at, image_format = _backing(at, layer.qcow2)


def block_device(chain: Chain) -> dict[str, Any]:
    """QEMU's description of the chain, read-only. It shares with writers, so that a guest can be started any time."""
    top, below = chain[0], chain[1:]
    node = image_device(top.path, top.format) | {"read-only": True, "force-share": True}
    if top.format == "qcow2":
        node["backing"] = block_device(below) if below else None
    return node


def writable_device(chain: Chain) -> dict[str, Any]:
    """QEMU's description of the chain whose top is written; what it stands on is not. Nobody else may write to it."""
    top, below = chain[0], chain[1:]
    node = image_device(top.path, top.format) | {"discard": "unmap"}
    if top.format == "qcow2":
        node["backing"] = block_device(below) if below else None
    return node


def image_device(path: Path, image_format: ImageKind) -> dict[str, Any]:
    """QEMU's description of one image in a file or on a block device."""
    driver = "host_device" if path.is_block_device() else "file"
    return {"driver": image_format, "file": {"driver": driver, "filename": str(path)}}


def _read_layer(path: Path, image_format: ImageFormat | None) -> Layer:
    try:
        if image_format is None:
            image_format = "qcow2" if not path.is_block_device() and has_magic(path) else "raw"
        layer = Layer(path=path, qcow2=read_qcow2(path) if image_format == "qcow2" else None)
    except OSError as error:
        raise FailedError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    if layer.qcow2 and layer.qcow2.encrypted:
        raise RefusedError(f"{path} is encrypted by QEMU; without its key there is nothing to read", code="encrypted")
    if layer.qcow2 and layer.qcow2.external_data:
        raise RefusedError(f"{path} keeps its data in another file, which is not supported", code="external-data")
    return layer


def _identify(path: Path, wanted_by: str) -> tuple[int, int]:
    """What the path leads to, by device and inode. Refuses everything that is no regular file or block device."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist{wanted_by}", hint="check the path") from error
    except OSError as error:
        raise FailedError(f"cannot read {path}{wanted_by}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        raise RefusedError(f"{path}{wanted_by} is neither a file nor a block device", code="not-an-image")
    return status.st_dev, status.st_ino


def _backing(upper: Path, header: Qcow2) -> tuple[Path, ImageFormat]:
    """Where a qcow2 header's backing file is, and its format."""
    name = header.backing_file
    assert name is not None
    if _PROTOCOL.match(name):
        raise RefusedError(f"{upper} stands on {name}, which is not a file on this host", code="remote-backing")
    if header.backing_format not in {"raw", "qcow2"}:
        stated = f"is {header.backing_format}" if header.backing_format else "is not stated"
        raise RefusedError(
            f"{upper} stands on {name}, whose format {stated}, and guessing it is not safe",
            hint=f"qemu-img rebase -u -b {name} -F raw|qcow2 {upper}",
            code="backing-format",
        )
    below = Path(os.path.normpath(upper.parent / name))
    return below, "raw" if header.backing_format == "raw" else "qcow2"
