"""The one door to qemu-img."""

import os
import subprocess
from pathlib import Path
from typing import Literal

from holdfast.core.errors import ConflictError, DamagedError, FailedError, FullError, HoldfastError

_TIMEOUT_S = 120.0
_CORRUPT, _LEAKS = 2, 3
"""What `qemu-img check` ends with; clusters that nobody refers to harm nobody."""


ImageKind = Literal["raw", "qcow2", "vmdk", "vhdx"]


def create_image(path: Path, size_bytes: int, kind: ImageKind) -> None:
    """Write an empty image into the file at `path`. Raises FullError or FailedError."""
    _run("create", "-q", "-f", kind, str(path), str(size_bytes), about=path)


def add_bitmap(path: Path, name: str) -> None:
    """Begin to record changes in a new bitmap. Raises ConflictError if the image is in use, FailedError."""
    _run("bitmap", "--add", "-f", "qcow2", str(path), name, about=path)


def remove_bitmap(path: Path, name: str) -> None:
    """Remove a bitmap. Raises ConflictError if the image is in use, FailedError."""
    _run("bitmap", "--remove", "-f", "qcow2", str(path), name, about=path)


def set_backing(path: Path, backing: str) -> None:
    """Write into the header that what the image lacks is in the raw disk `backing`. Raises FailedError."""
    _run("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", backing, str(path), about=path)


def require_whole(path: Path) -> None:
    """See that the tables of a qcow2 image that nobody writes to make sense, and point nowhere behind its end.

    QEMU reads what lies behind a file's end as zeros: an image that was cut short would be captured as if it held them.
    Raises DamagedError, FailedError.
    """
    try:
        _run("check", "-q", "-U", "-f", "qcow2", str(path), about=path)
    except FailedError as error:
        if isinstance(error.__cause__, subprocess.CalledProcessError) and error.__cause__.returncode == _CORRUPT:
            raise DamagedError(
                f"{path} is damaged: its tables contradict each other, or it was cut short",
                hint=f"see what is left with `qemu-img check {path}`; bring back another copy of it, or repair it",
                code="image-damaged",
            ) from error
        if not (isinstance(error.__cause__, subprocess.CalledProcessError) and error.__cause__.returncode == _LEAKS):
            raise


def _run(verb: str, *arguments: str, about: Path) -> None:
    try:
        subprocess.run(
            ["qemu-img", verb, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.CalledProcessError as error:
        raise _meaning(error.stderr.strip(), verb, about) from error
    except subprocess.TimeoutExpired as error:
        raise FailedError(f"{about}: qemu-img {verb} did not finish within {_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise FailedError(f"cannot run qemu-img: {error.strerror}", hint="install qemu-utils") from error


def _meaning(complaint: str, verb: str, about: Path) -> HoldfastError:
    """What qemu-img's words mean; there is nothing else to tell its failures apart by."""
    if "lock" in complaint and "Is another process using the image" in complaint:
        return ConflictError(
            f"{about} is in use by a running machine", hint="shut the machine down first, or wait", code="in-use"
        )
    if "No space left on device" in complaint or "Disk quota exceeded" in complaint:
        return FullError(f"{about}: no space left", hint="make room, then run it again")
    return FailedError(f"{about}: qemu-img {verb}: {complaint.removeprefix('qemu-img: ')}")
