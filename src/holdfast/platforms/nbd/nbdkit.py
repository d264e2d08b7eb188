"""nbdkit as a child that serves disks through a plugin of ours, and outlives us once it is ready.

    we      the listening socket, which queues clients from now on; start nbdkit; hand the message over
    nbdkit  loads the plugin, which makes its disks ready and answers
    we      write down what is served; let it go
    nbdkit  serves, until it is told to end

Until it is let go, it ends when we do. Secrets go through the conversation, a socket without a name, and nowhere else.
"""

import ctypes
import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from holdfast.core.errors import ConflictError, FailedError, HoldfastError, UsageError
from holdfast.core.mount import Certificates, ListenAddress, SharedKeys, TcpAddress, Terms, UnixAddress
from holdfast.platforms.nbd.server import HAND_OVER

LONGEST_SOCKET_PATH: Final = 107
_QUEUE: Final = 64
_THREADS: Final = 8
"""Requests of one client that are worked on at once."""
_ABOVE_ACTIVATION: Final = 10
"""Descriptors from 3 on are for systemd's socket activation."""
_END_S: Final = 10.0
_GO: Final = b"go"
_PR_SET_PDEATHSIG: Final = 1


class _Failure(msgspec.Struct, frozen=True):
    """A HoldfastError of the plugin's."""

    kind: str
    message: str
    hint: str
    code: str


class _Answer(msgspec.Struct, frozen=True):
    """What the plugin says: that it is ready, with warnings, or why it is not."""

    warnings: list[str] = []
    failure: _Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What nbdkit is to serve, and how: `plugin` is a Python file that is handed the message for a mount's directory.

    With an overlay there is one disk only: nbdkit has one for all exports.
    """

    plugin: Path
    message: Callable[[Path], bytes]
    terms: Terms


class Starting:
    """A server that listens, and ends with us unless it is let go. A context manager."""

    def __init__(self, service: Service, listener: socket.socket, log: Path, lock: int) -> None:
        """Start it; `lock` is a descriptor that it keeps open as long as it lives. Raises FailedError."""
        self._log = log
        self._conversation, theirs = Pipe()
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ACTIVATION) for each in (theirs.fileno(), lock)]
        try:
            with log.open("ab") as output:
                self._child = subprocess.Popen(
                    ["sh", "-c", HAND_OVER, "sh", *_command(service, high[0])],
                    stdin=listener.fileno(),
                    stdout=output,
                    stderr=output,
                    pass_fds=high,
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise FailedError(f"cannot start nbdkit: {error.strerror or error}", hint="install nbdkit") from error
        finally:
            theirs.close()
            for each in high:
                os.close(each)

    @property
    def process(self) -> int:
        """Its number."""
        return self._child.pid

    def hand_over(self, message: bytes) -> Sequence[str]:
        """Give it the message and wait until it is ready. Returns warnings. Raises what the plugin raised."""
        try:
            self._conversation.send_bytes(message)
            answer = msgspec.msgpack.decode(self._conversation.recv_bytes(), type=_Answer)
        except (EOFError, OSError) as error:
            raise FailedError(
                f"nbdkit does not serve: {self._complaint()}",
                hint="install nbdkit and nbdkit-plugin-python; `holdfast doctor` looks at them",
                code="not-served",
            ) from error
        if answer.failure is not None:
            raise _as_error(answer.failure)
        return answer.warnings

    def let_go(self) -> None:
        """It serves from now on, whatever becomes of us. Raises FailedError if it has died."""
        try:
            self._conversation.send_bytes(_GO)
            self._conversation.recv_bytes()
        except (EOFError, OSError) as error:
            raise FailedError(f"nbdkit ended: {self._complaint()}", code="not-served") from error
        self._conversation.close()
        self._child.returncode = 0  # it is not waited for

    def end(self) -> None:
        """It is not wanted any more: it gives back its hold, or is killed."""
        self._conversation.close()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _complaint(self) -> str:
        return " ".join(self._log.read_text(errors="replace").split()) or "it says nothing"


def answer_ready(conversation: Connection, warnings: Sequence[str]) -> bool:
    """For the plugin: tell that the disks are ready. Returns whether to go on and serve."""
    try:
        conversation.send_bytes(msgspec.msgpack.encode(_Answer(list(warnings))))
        conversation.recv_bytes()
        # nbdkit asks the kernel for a signal at its parent's death when it is given a socket.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
        conversation.send_bytes(_GO)
    except (EOFError, OSError):
        return False
    return True


def answer_failure(conversation: Connection, error: HoldfastError) -> None:
    """For the plugin: tell why there is nothing to serve."""
    failure = _Failure(error.kind, error.message, error.hint, error.code)
    conversation.send_bytes(msgspec.msgpack.encode(_Answer(failure=failure)))


@contextmanager
def listening(address: ListenAddress, default: Path) -> Iterator[socket.socket]:
    """A socket that clients can connect to from now on. Whatever fails within, its name goes again.

    Raises UsageError, ConflictError (somebody else listens there), FailedError.
    """
    match address:
        case UnixAddress(path=path):
            with _unix(path or default) as listener:
                yield listener
        case TcpAddress(host=host, port=port):
            with _tcp(host, port) as listener:
                yield listener


def served_uri(listener: socket.socket, export: str, terms: Terms) -> str:
    """Where clients find an export: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md."""
    scheme = "nbd" if terms.tls is None else "nbds"
    match terms.address:
        case UnixAddress():
            return f"{scheme}+unix:///{quote(export, safe='')}?socket={quote(listener.getsockname())}"
        case TcpAddress(host=host):
            port = listener.getsockname()[1]
            return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/{quote(export, safe='')}"


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise UsageError(f"{path} is too long for a socket", hint="name a shorter one: --nbd SOCKET", code="long-path")
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            _remove_dead_socket(path)
            listener.bind(str(path))
        except OSError as error:
            raise _cannot_listen(str(path), error) from error
        try:
            listener.listen(_QUEUE)
            yield listener
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def _tcp(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(f"{host}:{port}", error) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(_QUEUE)
        except OSError as error:
            raise _cannot_listen(f"{host}:{port}", error) from error
        yield listener


def _remove_dead_socket(path: Path) -> None:
    """A server that was killed leaves the name of its socket."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _cannot_listen(where: str, error: OSError) -> HoldfastError:
    if isinstance(error, FileExistsError) or error.errno == errno.EADDRINUSE:
        return ConflictError(f"{where} is taken", hint="name another place to listen", code="address-in-use")
    return FailedError(f"cannot listen at {where}: {error.strerror or error}", hint="name another place to listen")


def _command(service: Service, conversation: int) -> list[str]:
    options = ["--foreground", "--log=stderr", f"--threads={_THREADS}"]
    options += ["--filter=cow"] if service.terms.overlay else ["--readonly"]
    match service.terms.tls:
        case None:
            options += ["--tls=off"]
        case Certificates(directory=directory):
            options += ["--tls=require", "--tls-verify-peer", f"--tls-certificates={directory}"]
        case SharedKeys(file=file):
            options += ["--tls=require", f"--tls-psk={file}"]
    return ["nbdkit", *options, "python", str(service.plugin), f"conversation={conversation}"]


def _environment() -> dict[str, str]:
    """Ours, without passphrases, and with the places where this interpreter finds what it imports."""
    kept = {name: value for name, value in os.environ.items() if "PASSPHRASE" not in name}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"}


def _as_error(failure: _Failure) -> HoldfastError:
    kinds = {each.kind: each for each in HoldfastError.__subclasses__()}
    return kinds.get(failure.kind, FailedError)(failure.message, hint=failure.hint, code=failure.code)
