"""nbdkit, which serves disks through a plugin of ours, and the sockets it is handed: see `outliving`."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from holdfast.core.errors import ConflictError, FailedError, HoldfastError, UsageError
from holdfast.core.mount import Certificates, ListenAddress, SharedKeys, TcpAddress, Terms, UnixAddress
from holdfast.platforms.nbd.server import HAND_OVER
from holdfast.platforms.outliving import Program

LONGEST_SOCKET_PATH: Final = 107
_QUEUE: Final = 64
_THREADS: Final = 8
"""Requests of one client that are worked on at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What nbdkit is to serve, and how: `plugin` is a Python file that is handed the message for a mount's directory.

    With an overlay there is one disk only: nbdkit has one for all exports.
    """

    plugin: Path
    message: Callable[[Path], bytes]
    terms: Terms


def nbdkit(service: Service) -> Program:
    """The server, which is handed a listening socket."""
    return Program(
        name="nbdkit",
        hint="install nbdkit and nbdkit-plugin-python; `holdfast doctor` looks at them",
        command=lambda conversation: ["sh", "-c", HAND_OVER, "sh", *_command(service, conversation)],
    )


@contextmanager
def listening(address: ListenAddress, default: Path) -> Iterator[socket.socket]:
    """A socket that clients can connect to from now on. Whatever fails within, its name goes again.

    Raises UsageError, ConflictError (somebody else listens there), FailedError.
    """
    match address:
        case UnixAddress(path=path):
            with _unix(path or default) as listener:
                yield listener
        case TcpAddress():
            with listening_over_tcp(address) as listener:
                yield listener


def served_uri(listener: socket.socket, export: str, terms: Terms) -> str:
    """Where clients find an export: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md."""
    scheme = "nbd" if terms.tls is None else "nbds"
    match terms.address:
        case UnixAddress():
            return f"{scheme}+unix:///{quote(export, safe='')}?socket={quote(listener.getsockname())}"
        case TcpAddress():
            return f"{scheme}://{served_at(listener, terms.address)}/{quote(export, safe='')}"


def served_at(listener: socket.socket, address: TcpAddress) -> str:
    """Host and port as URIs have them: the host as it was named, the port as it turned out."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{listener.getsockname()[1]}"


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
def listening_over_tcp(address: TcpAddress) -> Iterator[socket.socket]:
    """The same, for one kind of address."""
    where = f"{address.host}:{address.port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(where, error) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(_QUEUE)
        except OSError as error:
            raise _cannot_listen(where, error) from error
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
