"""What is served on this host: started, listed, ended. Each mount is a workspace that its server keeps.

The server inherits the workspace's lock, so the kernel says whether it lives; what a dead one left is swept away by
whoever starts, lists or ends a mount next.
"""

import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.errors import DeniedError, FailedError
from holdfast.core.mount import Mount
from holdfast.platforms.nbd.nbdkit import Service, listening, nbdkit, served_uri
from holdfast.platforms.outliving import Program, Starting
from holdfast.platforms.workspace import NAME, Workspace, is_abandoned

_STATE: Final = "mount.json"
ENDING: Final = "ending"
"""A file in a mount's directory that says: it is wanted no more."""
ATTENDED: Final = "attended"
"""A file there that an attendant keeps locked for as long as it lives."""
_END_S: Final = 60.0
_POLL_S: Final = 0.05

UriOf = Callable[[str], str]
Describe = Callable[["Place", UriOf], Mount]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What only the one who starts a server knows of it."""

    id: str
    log: str
    process: int
    socket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A mount that is served, and what the user must know about it."""

    mount: Mount
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What it takes to go on serving a mount: where clients come in, and the lock that says that it lives."""

    mount: Mount
    workspace: Path
    listener: socket.socket
    lock: int


Attend = Callable[[Served], None]


def start(base: Path, service: Service, describe: Describe, attend: Attend | None = None) -> Started:
    """Serve until somebody ends it. `describe` tells the mount, given its place and a function from export to URI.

    With `attend`, somebody is asked to see to it that it is served for as long. Raises what the plugin raises,
    ConflictError where somebody else listens, FailedError.
    """
    with _nbd_server(base, service, describe) as (server, served, warnings):
        if attend is not None:
            attend(served)
        server.let_go()
    return Started(mount=served.mount, warnings=warnings)


@contextmanager
def serving(base: Path, service: Service, describe: Describe) -> Iterator[Started]:
    """Serve while the context lasts; if the thread that entered it dies, in whatever way, the server ends.

    Raises as `start` does, and as `end` does.
    """
    with _nbd_server(base, service, describe) as (server, served, warnings):
        server.keep()
    try:
        yield Started(mount=served.mount, warnings=warnings)
    finally:
        try:
            end(base, served.mount)
        finally:
            server.end()


def start_program(
    base: Path, program: Program, stdin: int, message: bytes, describe: Callable[[Place], Mount]
) -> Started:
    """Let a program of ours serve until somebody ends it. Raises what it raises, FailedError."""
    with _workspace(base) as workspace, _ready(workspace, program, stdin, message, describe) as (server, started):
        server.let_go()
    return started


@contextmanager
def _nbd_server(base: Path, service: Service, describe: Describe) -> Iterator[tuple[Starting, Served, Sequence[str]]]:
    """A server of disks that is ready, to be settled within; what it serves, and warnings."""
    with _workspace(base) as workspace, listening(service.terms.address, workspace.path / "nbd") as listener:
        socket_path = str(listener.getsockname()) if listener.family == socket.AF_UNIX else None

        def told(place: Place) -> Mount:
            uri_of = partial(served_uri, listener, terms=service.terms)
            return describe(replace(place, socket=socket_path), uri_of)

        message = service.message(workspace.path)
        with _ready(workspace, nbdkit(service), listener.fileno(), message, told) as (server, started):
            served = Served(mount=started.mount, workspace=workspace.path, listener=listener, lock=workspace.lock)
            yield server, served, started.warnings


@contextmanager
def _workspace(base: Path) -> Iterator[Workspace]:
    """A mount's directory, which is the server's after this; removed if there is none."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(base)
    workspace = Workspace(base)
    try:
        yield workspace
    except BaseException:
        workspace.close()
        raise
    workspace.leave()


@contextmanager
def _ready(
    workspace: Workspace, program: Program, stdin: int, message: bytes, describe: Callable[[Place], Mount]
) -> Iterator[tuple[Starting, Started]]:
    """A server that is ready, and written down, in this order. It is to be settled within: an error there ends it."""
    log = workspace.path / "log"
    server = Starting(program, stdin, log, workspace.lock)
    try:
        warnings = server.hand_over(message)
        name = workspace.path.name.partition("-")[2]
        mount = describe(Place(id=name, log=str(log), process=server.process))
        write_down(workspace.path, mount)
        yield server, Started(mount=mount, warnings=warnings)
    except BaseException:
        server.end()
        raise


def write_down(workspace: Path, mount: Mount) -> None:
    """Say what is served there, in place of what was said before."""
    draft = workspace / f"{_STATE}.new"
    draft.write_bytes(msgspec.json.encode(mount))
    draft.replace(workspace / _STATE)


def directory_of(base: Path, mount: Mount) -> Path:
    """Where what belongs to a mount stands."""
    return base / f"holdfast-{mount.id}"


def mounts(base: Path) -> list[Mount]:
    """Everything that is served, oldest first."""
    _sweep(base)
    return sorted((mount for _, mount in _described(base)), key=lambda mount: mount.created_at)


def end(base: Path, mount: Mount) -> None:
    """End a server and wait until it is gone; clients lose their connection. One that is gone already is swept.

    Raises DeniedError, FailedError.
    """
    workspace = directory_of(base, mount)
    with suppress(OSError):
        (workspace / ENDING).touch()
    _await_attendant(workspace, mount)
    with suppress(ProcessLookupError):
        server = os.pidfd_open(mount.process)
        try:
            if not is_abandoned(workspace):  # it held the lock after its number was looked up: the number is its
                signal.pidfd_send_signal(server, signal.SIGTERM)
                _await_end(server, mount)
        except PermissionError as error:
            raise DeniedError(f"mount {mount.id} belongs to another user", hint="end it as that user") from error
        finally:
            os.close(server)
    _sweep(base)


def is_attended(workspace: Path) -> bool:
    """Whether somebody sees to it that this mount is served."""
    try:
        with (workspace / ATTENDED).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _await_attendant(workspace: Path, mount: Mount) -> None:
    """An attendant ends its server, and then itself."""
    deadline = time.monotonic() + _END_S
    while is_attended(workspace):
        if time.monotonic() > deadline:
            raise _does_not_end(mount)
        time.sleep(_POLL_S)


def _await_end(server: int, mount: Mount) -> None:
    ended = select.poll()
    ended.register(server, select.POLLIN)
    if not ended.poll(_END_S * 1000):
        raise _does_not_end(mount)


def _does_not_end(mount: Mount) -> FailedError:
    return FailedError(
        f"the server of mount {mount.id} does not end within {_END_S:.0f} s",
        hint=f"it waits for the repository, probably; kill {mount.process} ends it at once",
        code="not-ended",
    )


def _described(base: Path) -> Iterator[tuple[Path, Mount]]:
    for workspace in base.glob("holdfast-*"):
        if NAME.fullmatch(workspace.name):
            with suppress(OSError, msgspec.MsgspecError):  # one that is just being started, or ended
                yield workspace, msgspec.json.decode((workspace / _STATE).read_bytes(), type=Mount)


def _sweep(base: Path) -> None:
    """Remove what dead servers left: their sockets, wherever those are, and their workspaces."""
    for workspace, mount in _described(base):
        if is_abandoned(workspace):
            if mount.socket is not None:
                _remove_socket(Path(mount.socket))
            if mount.directory is not None:
                _unmount(mount.directory)
            shutil.rmtree(workspace, ignore_errors=True)


def _unmount(directory: str) -> None:
    """What a killed server left is no use to anybody; what answers is somebody else's by now."""
    try:
        Path(directory).stat()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            subprocess.run(["fusermount3", "-u", "-z", "--", directory], capture_output=True, check=False)


def _remove_socket(path: Path) -> None:
    """Unless somebody has taken the name since."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        if path.is_socket() and probe.connect_ex(str(path)):
            path.unlink()
