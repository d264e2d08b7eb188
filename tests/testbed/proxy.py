"""Between a client and an object store: everything is passed on, except what a test has planned.

Host and headers go on as they come, so signatures stay good. A planned fault that was never met fails the test.
"""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """What a store says."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Exchange:
    """One request, and what can become of it."""

    def __init__(self, handler: "_Handler", target: str) -> None:
        self._handler = handler
        self._target = urlsplit(target)
        self.method = handler.command
        self.path = handler.path
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def ask(self, body: bytes | None = None) -> Answer:
        """What the store says to it, or to the same request with another body of that length."""
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            connection.putrequest(self.method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._handler.headers.items():
                connection.putheader(name, value)
            connection.endheaders(self.body if body is None else body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def give(self, answer: Answer, *, only: int | None = None) -> None:
        """Give the client an answer; with `only`, so many bytes of its body, and then the line is dead."""
        self._handler.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self._handler.send_header(name, value)
        length = next((value for name, value in answer.headers if name.lower() == "content-length"), len(answer.body))
        self._handler.send_header("Content-Length", str(length))
        self._handler.end_headers()
        if self.method != "HEAD":
            self._handler.wfile.write(answer.body[:only])
        if only is not None:
            self.hang_up()

    def hang_up(self) -> None:
        """No more of this connection."""
        self._handler.close_connection = True


Fault = Callable[[Exchange], None]


def refused(status: int, code: str = "") -> Fault:
    """The store says no, in its own form; without a code, as something in between says it."""
    body = f"<Error><Code>{code}</Code></Error>" if code else "<html>no</html>"
    return lambda exchange: exchange.give(Answer(status, [("Content-Type", "application/xml")], body.encode()))


def dropped(exchange: Exchange) -> None:
    """The connection breaks before the store has heard anything."""
    exchange.hang_up()


def lost(exchange: Exchange) -> None:
    """It is done, and nobody is told."""
    exchange.ask()
    exchange.hang_up()


def cut(exchange: Exchange) -> None:
    """The connection breaks in the middle of the answer's body."""
    answer = exchange.ask()
    exchange.give(answer, only=len(answer.body) // 2)


def garbled(exchange: Exchange) -> None:
    """One bit of what was sent arrives wrong."""
    exchange.give(exchange.ask(bytes([exchange.body[0] ^ 1]) + exchange.body[1:]))


@dataclass(slots=True)
class _Planned:
    fault: Fault
    method: str
    part: str
    left: int


class Proxy:
    """A running proxy in front of `target`."""

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._plan: list[_Planned] = []
        self._planning = threading.Lock()
        self.anything: Fault | None = None
        """Met by every request that no plan is for."""
        self._server = _Server(("127.0.0.1", 0), self._meet)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where a client finds it."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def failing(self, fault: Fault, *, method: str, part: str = "", times: int = 1) -> Iterator[None]:
        """Within, the next requests of that method, with that in path or query, meet the fault. They must come."""
        planned = _Planned(fault, method, part, times)
        self._plan.append(planned)
        yield
        self._plan.remove(planned)
        assert planned.left == 0, f"{planned.left} of {times} planned faults of {method} {part} were never met"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _meet(self, handler: "_Handler") -> None:
        exchange = Exchange(handler, self._target)
        fault = self._planned_for(exchange) or self.anything
        if fault is None:
            exchange.give(exchange.ask())
        else:
            fault(exchange)

    def _planned_for(self, exchange: Exchange) -> Fault | None:
        with self._planning:
            for planned in self._plan:
                if planned.left and planned.method == exchange.method and planned.part in exchange.path:
                    planned.left -= 1
                    return planned.fault
        return None


@contextmanager
def proxy(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy while the context lasts."""
    running = Proxy(target, tls)
    try:
        yield running
    finally:
        running.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], meet: "Callable[[_Handler], None]") -> None:
        self.meet = meet
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _any(self) -> None:
        assert isinstance(self.server, _Server)
        with suppress(ConnectionError):
            self.server.meet(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815 - the names that http.server asks for

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name in http.server
        """Quiet."""
