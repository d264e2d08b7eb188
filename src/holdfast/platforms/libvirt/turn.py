"""One at a time captures or overwrites a machine on this host, whatever the machine's state."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.core.errors import ConflictError, FailedError

_SUPERUSER = 0


@contextmanager
def sole_turn(machine: str, machine_id: str) -> Iterator[None]:
    """Hold the machine's turn. Raises ConflictError if another one has it, FailedError if it cannot be taken.

    The turn is a lock by flock(2) on a file that only this user can open: taken at once or not at all, and given back
    by the kernel however its holder ends. The file stays, since a name that is removed could be locked twice. libvirt
    refuses a second backup job too, but only for running machines, and only after half a minute.
    """
    turn = _open(_directory(), machine, machine_id)
    try:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"another backup of {machine} or a restore of it is running on this host",
                hint="wait for it to end",
                code="busy",
            ) from error
        yield
    finally:
        os.close(turn)


def _directory() -> Path:
    """Where this user's turns are. Others could hold a turn for ever, so it is a place where they cannot be."""
    user = os.geteuid()
    if user == _SUPERUSER:
        return Path("/run/holdfast")
    session = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    if session.is_dir() and session.stat().st_uid == user:
        return session / "holdfast"
    return Path(f"/tmp/holdfast-of-{user}")  # noqa: S108 - used only if it is this user's


def _open(directory: Path, machine: str, machine_id: str) -> int:
    """A descriptor of the machine's file. Raises FailedError, also where others could write in `directory`."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(place)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise FailedError(
                    f"cannot take the turn to capture {machine}: others can write in {directory}",
                    hint="remove that directory",
                )
            return os.open(machine_id, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
        finally:
            os.close(place)
    except OSError as error:
        raise FailedError(f"cannot take the turn to capture {machine}: {directory}: {error.strerror}") from error
