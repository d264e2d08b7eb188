"""New files: claimed under a name that shows that they are not whole, and named without replacing anything."""

import fcntl
import os
from pathlib import Path

from holdfast.core.errors import (
    ConflictError,
    FailedError,
    FullError,
    HoldfastError,
    RefusedError,
    no_directory,
)
from holdfast.platforms.errors import is_full


def require_free(path: Path) -> None:
    """Raise RefusedError unless the final name is free, and in a place for files."""
    if path.parent.is_relative_to("/dev") and not path.parent.is_relative_to("/dev/shm"):  # noqa: S108 - not ours
        raise RefusedError(
            f"{path} is no place for a file: what is written below /dev lies in memory",
            hint="name a file in another directory",
        )
    if path.exists() or path.is_symlink():
        raise exists_already(path)


def create_draft(path: Path, draft: Path) -> int:
    """Create and open the draft's file."""
    try:
        return os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise no_directory(path.parent) from error
    except FileExistsError as error:
        raise RefusedError(
            f"{draft} exists, left by a restore that was interrupted or is still running",
            hint="go on with it (--resume), remove it if no restore is running, or name another output",
            code="exists",
        ) from error
    except OSError as error:
        raise writing_failed(path, "creating", error) from error


def lock_draft(file: int, draft: Path) -> None:
    """Keep everybody else away from a draft until its file is closed.

    Raises ConflictError if another restore has it, FailedError where nothing can be locked.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConflictError(f"another restore writes {draft}", hint="wait for it", code="busy") from error
    except OSError as error:
        raise FailedError(f"cannot lock {draft}: {error.strerror}", hint="name an output elsewhere") from error


def give_name(draft: Path, path: Path) -> None:
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


def sync_directory(path: Path) -> None:
    """Let a name in it be durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exists_already(path: Path) -> RefusedError:
    """What to raise about a name that is taken."""
    return RefusedError(f"{path} exists", hint="name another output; nothing is ever overwritten", code="exists")


def writing_failed(path: Path, action: str, error: OSError) -> HoldfastError:
    """What an error of the operating system means here."""
    if is_full(error):
        return FullError(f"{path}: no space left, {action}", hint="make room or name another output")
    return FailedError(f"{path}: {action}: {error.strerror}")
