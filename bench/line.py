"""A long line on loopback: a TCP proxy with delay, bandwidth and windows, in front of whatever listens at its far end.

A byte waits for the bandwidth of its direction, which all connections share, and then for the delay. Of each connection
at most a window of bytes is under way at a time, until their acknowledgement could be back, as TCP has it: so one
connection alone does not fill a line that is long enough. Connecting takes a round trip. A window is full from the
start, where TCP would begin slowly, and nothing is lost.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_PIECE = 64 << 10
_WINDOW = 4 << 20  # Linux's default for the largest send buffer of a connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How long and how wide."""

    round_trip_s: float
    bytes_per_s: float


class _Direction:
    """One direction of the line, for all its connections."""

    def __init__(self, line: Line) -> None:
        self._bytes_per_s = line.bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.carried_bytes = 0

    def send(self, count: int) -> float:
        """When the last of so many bytes has left, if they go behind all that wait already."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self._bytes_per_s
            self.carried_bytes += count
            return self._free_at


class LongLine:
    """A running proxy. `there` counts bytes towards the far end, `back` those from it."""

    def __init__(self, line: Line, port: int) -> None:
        self._line = line
        self._far = ("127.0.0.1", port)
        self.there, self.back = _Direction(line), _Direction(line)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    @property
    def endpoint(self) -> str:
        """The near end, as a URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Hang up."""
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), name="line", daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        time.sleep(self._line.round_trip_s)
        far = socket.create_connection(self._far)
        self._open += [near, far]
        for source, target, direction in ((near, far, self.there), (far, near, self.back)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Pipe(source, target, direction, self._line).start()


class _Pipe:
    """One connection's bytes in one direction: one thread takes them in, another delivers them."""

    def __init__(self, source: socket.socket, target: socket.socket, direction: _Direction, line: Line) -> None:
        self._source = source
        self._target = target
        self._direction = direction
        self._delay_s = line.round_trip_s / 2
        self._under_way: deque[tuple[float, int]] = deque()
        self._arrivals: deque[tuple[float, bytes]] = deque()
        self._more = threading.Semaphore(0)

    def start(self) -> None:
        """Begin to carry."""
        for body in (self._take, self._deliver):
            threading.Thread(target=body, name="line", daemon=True).start()

    def _take(self) -> None:
        window = 0
        while True:
            while window > _WINDOW - _PIECE:
                acknowledged, count = self._under_way.popleft()
                time.sleep(max(0.0, acknowledged - time.monotonic()))
                window -= count
            try:
                piece = self._source.recv(_PIECE)
            except OSError:
                piece = b""
            arrives = self._direction.send(len(piece)) + self._delay_s
            self._under_way.append((arrives + self._delay_s, len(piece)))
            window += len(piece)
            self._arrivals.append((arrives, piece))
            self._more.release()
            if not piece:
                return

    def _deliver(self) -> None:
        while self._more.acquire():
            arrives, piece = self._arrivals.popleft()
            time.sleep(max(0.0, arrives - time.monotonic()))
            try:
                if not piece:
                    self._target.shutdown(socket.SHUT_WR)
                    return
                self._target.sendall(piece)
            except OSError:
                return


@contextmanager
def long_line(line: Line, port: int) -> Iterator[LongLine]:
    """A line to a port of this computer while the context lasts."""
    running = LongLine(line, port)
    try:
        yield running
    finally:
        running.close()
