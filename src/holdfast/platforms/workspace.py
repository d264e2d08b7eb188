"""Private directories for sockets and scratch files: gone with their process, or swept after it was killed.

A workspace is `BASE/holdfast-<12 hex>/` with a file `lock` that its process holds by flock(2). The kernel drops the
lock when the process dies in whatever way, so a workspace whose lock can be taken belongs to nobody. Numbers of
processes are not used: they recur, and mean nothing across namespaces.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.core.errors import FailedError, FullError, no_directory
from holdfast.platforms.errors import is_full

NAME = re.compile(r"holdfast-[0-9a-f]{12}")
_AS_IT_IS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Workspace:
    """A directory of this process alone; a context manager that removes it with everything in it."""

    def __init__(self, base: Path, *, mode: int = 0o700) -> None:
        """Create it under `base`, sweeping out dead ones. Raises NotFoundError, FullError or FailedError."""
        _sweep(base)
        self.path = base / f"holdfast-{secrets.token_hex(6)}"
        self._lock = -1
        try:
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            # A sweeper can come between creating the file and locking it; it finds no host name and leaves it alone.
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.write(self._lock, _host().encode())
            self.path.chmod(mode)
        except FileNotFoundError as error:
            raise no_directory(base) from error
        except OSError as error:
            self.close()
            kind = FullError if is_full(error) else FailedError
            raise kind(f"cannot work in {base}: {error.strerror}", hint="name another directory") from error

    def close(self) -> None:
        """Remove the directory, then let go of the lock. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def lock(self) -> int:
        """The descriptor that keeps it; a child that inherits it keeps it too."""
        return self._lock

    def leave(self) -> None:
        """Let go of it without removing anything: a child that has inherited the lock keeps it from now on."""
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def socket_base() -> Path:
    """Where workspaces for sockets go. A socket's path ends at 107 bytes, so a long TMPDIR cannot be used."""
    wanted = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - a workspace is exclusive, its name unguessable
    return wanted if len(os.fsencode(wanted)) <= 60 and wanted.is_dir() else Path("/tmp")  # noqa: S108


def is_abandoned(workspace: Path) -> bool:
    """Whether `workspace`, which bears a workspace's name, is gone or its process is: nobody will miss it."""
    if not NAME.fullmatch(workspace.name):
        return False
    try:
        place = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return _is_free(place)
    finally:
        os.close(place)


def _is_free(place: int) -> bool:
    """Whether the workspace open as `place` was one of this user on this host, and its lock is held by nobody.

    Where everybody may write, everybody may put something else in a lock's stead: a FIFO to wait at, a device, a link.
    The directory itself may be another user's, since sockets' workspaces are given to QEMU's.
    """
    try:
        lock = os.open("lock", _AS_IT_IS, dir_fd=place)
    except OSError:
        return False
    try:
        status = os.fstat(lock)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # On storage shared between hosts a lock may not reach across, so only its own host may judge a workspace dead.
        return os.read(lock, 256).decode(errors="replace") == _host()
    except OSError:
        return False
    finally:
        os.close(lock)


def _sweep(base: Path) -> None:
    """Remove what killed processes of this host left in `base`. Never raises: leftovers cost space, not safety."""
    with contextlib.suppress(OSError):
        for entry in base.glob("holdfast-*"):
            if entry.is_dir() and not entry.is_symlink() and is_abandoned(entry):
                shutil.rmtree(entry, ignore_errors=True)


def _host() -> str:
    return socket.gethostname()
