"""The process behind `mount create --webdav`: the files of a point over WebDAV, read-only.

`python -m holdfast.bootstrap.webdav_server DESCRIPTOR`: the descriptor is the conversation on which it is told what to
serve, see `outliving`; standard input is the socket that clients connect to.
"""

import os
import signal
import socket
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from wsgidav.error_printer import ErrorPrinter
from wsgidav.http_authenticator import HTTPAuthenticator
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

from holdfast.bootstrap.file_serving import USER, WebdavOrder, browsing_handed
from holdfast.bootstrap.memory import forbid_core_dumps
from holdfast.bootstrap.webdav_files import PointProvider, ReadingOnly
from holdfast.core.errors import FailedError, HoldfastError
from holdfast.core.progress import Silence
from holdfast.jobs.browse import Browser
from holdfast.jobs.notes import Notes
from holdfast.platforms.outliving import answer_failure, answer_ready

_BLOCK_BYTES: Final = 1024 * 1024
_THREADS: Final = 8
"""Requests that are worked on at once."""
_LARGEST_HEADERS: Final = 64 * 1024
_LARGEST_BODY: Final = 1024 * 1024
"""Nothing that only reads has more to say."""
_END_S: Final = 2


class HandedServer(Server):
    """A server at a socket that somebody else has opened."""

    def __init__(self, listener: socket.socket, application: WsgiDAVApp) -> None:
        super().__init__(
            listener.getsockname()[:2],
            application,
            numthreads=_THREADS,
            server_name="holdfast",
            shutdown_timeout=_END_S,
        )
        self.max_request_header_size = _LARGEST_HEADERS
        self.max_request_body_size = _LARGEST_BODY
        self._listener = listener

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002 - cheroot's name
        """It is bound. Headers and bodies are sent apart, and a body must not wait until its headers are confirmed."""
        del family, type, proto
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self._listener
        return self._listener


def application(browser: Browser, password: str) -> WsgiDAVApp:
    """What answers requests. The password goes over the wire as it is, which is why that is this host or TLS."""
    return WsgiDAVApp({
        "provider_mapping": {"/": PointProvider(browser)},
        "middleware_stack": [ErrorPrinter, HTTPAuthenticator, ReadingOnly, RequestResolver],
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "simple_dc": {"user_mapping": {"*": {USER: {"password": password}}}},
        "hotfixes": {"re_encode_path_info": False},
        "lock_storage": False,
        "property_manager": False,
        "suppress_version_info": True,
        "block_size": _BLOCK_BYTES,
        "logging": {"enable": False},
        "verbose": 1,
    })  # fmt: skip


def main() -> None:
    """Serve until told to end."""
    forbid_core_dumps()
    signal.signal(signal.SIGTERM, _end)
    os.environ.pop("LISTEN_PID", None)  # cheroot would take another socket than ours
    conversation = Connection(int(sys.argv[1]))
    order = msgspec.msgpack.decode(conversation.recv_bytes(), type=WebdavOrder)
    notes = Notes(Silence())
    try:
        with browsing_handed(order, notes) as (_, browser):
            server = HandedServer(socket.socket(fileno=sys.stdin.fileno()), application(browser, order.password))
            if order.certificates is not None:
                server.ssl_adapter = _tls(Path(order.certificates))
            _serve(server, conversation, notes)
    except HoldfastError as error:
        answer_failure(conversation, error)


def _serve(server: Server, conversation: Connection, notes: Notes) -> None:
    server.prepare()
    try:
        if answer_ready(conversation, notes.warnings):
            conversation.close()
            server.serve()
    finally:
        server.stop()


def _tls(directory: Path) -> BuiltinSSLAdapter:
    certificate, key = directory / "server-cert.pem", directory / "server-key.pem"
    try:
        return BuiltinSSLAdapter(str(certificate), str(key))
    except (OSError, ValueError) as error:
        raise FailedError(
            f"cannot serve with the certificate in {directory}: {error}",
            hint="server-cert.pem and server-key.pem belong there, in PEM, the key without a passphrase",
            code="no-certificate",
        ) from error


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


if __name__ == "__main__":
    main()
