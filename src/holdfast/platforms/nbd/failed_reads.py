"""Reads that a server failed, or let wait for long: told in the mount's directory to whoever answers for the machine.

The machine itself sees an error, or hangs, and nobody can tell from outside what was to blame. Whoever finds such a
note reads the same bytes again: if that succeeds now, it was the way to the repository.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

_NOTE: Final = "failed-read"
_LOOK_S: Final = 1.0
LONG_S: Final = 20.0
"""A guest's patience with a disk ends somewhere beyond: Linux gives most of them 30 s."""


class FailedRead(msgspec.Struct, frozen=True, kw_only=True):
    """A read that a server could not do, or not in time."""

    export: str
    offset: int
    length: int


class Reads:
    """The reads under way in a server. For any thread."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._under_way: dict[object, tuple[float, FailedRead]] = {}
        self._changing = threading.Lock()

    @contextmanager
    def reading(self, read: FailedRead) -> Iterator[None]:
        """Within, it is under way; if it fails, that is noted."""
        mark = object()
        with self._changing:
            self._under_way[mark] = (time.monotonic(), read)
        try:
            yield
        except Exception:
            note_failure(self._workspace, read)
            raise
        finally:
            with self._changing:
                del self._under_way[mark]

    def look(self, now: float) -> None:
        """Note what is under way for too long by now (monotonic seconds)."""
        with self._changing:
            late = [read for began, read in self._under_way.values() if now - began > LONG_S]
        for read in late:
            note_failure(self._workspace, read)

    def watch(self) -> None:
        """Look from now on, until the process ends."""
        threading.Thread(target=self._look_on, name="slow-reads", daemon=True).start()

    def _look_on(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            self.look(time.monotonic())


def note_failure(workspace: Path, failure: FailedRead) -> None:
    """For the server: remember the newest of its failures. Never raises."""
    with suppress(OSError):
        draft = workspace / f"{_NOTE}.{threading.get_native_id()}"
        draft.write_bytes(msgspec.json.encode(failure))
        draft.replace(workspace / _NOTE)


def take_failure(workspace: Path) -> FailedRead | None:
    """The newest failure that has not been taken yet."""
    path = workspace / _NOTE
    try:
        failure = msgspec.json.decode(path.read_bytes(), type=FailedRead)
        path.unlink()
    except (OSError, msgspec.MsgspecError):
        return None
    return failure
