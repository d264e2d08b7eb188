"""Three ways to show the same progress: a bar on a terminal, lines in a log, JSON lines for a program.

All may be called from any thread. None ever raises into the work it shows.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import click

from holdfast.cli.output import printable
from holdfast.core.progress import Progress
from holdfast.core.sizes import size_text

Clock = Callable[[], float]
LOG_INTERVAL_S = 5.0
JSON_INTERVAL_S = 1.0


class Rate:
    """Lets one call through per interval, and always the one that completes a phase. Not locked."""

    def __init__(self, interval_s: float, clock: Clock) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next = clock()

    def restart(self) -> None:
        """A new phase: its first call is let through one interval from now."""
        self._next = self._clock() + self._interval_s

    def due(self, *, complete: bool) -> bool:
        """Whether to speak now."""
        now = self._clock()
        if now < self._next and not complete:
            return False
        self._next = now + self._interval_s
        return True


class JsonProgress:
    """Events as JSON values, at most one of type `progress` per interval. `subject` is part of each."""

    def __init__(
        self, subject: dict[str, str], emit: Callable[[dict[str, Any]], None], clock: Clock = time.monotonic
    ) -> None:
        self._subject = subject
        self._emit = emit
        self._rate = Rate(JSON_INTERVAL_S, clock)
        self._step = ""
        self._lock = Lock()

    def step(self, text: str) -> None:
        """A new phase begins."""
        with self._lock:
            self._step = text
            self._emit({"type": "step", **self._subject, "step": text})

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Bytes of the phase behind us."""
        with self._lock:
            if self._rate.due(complete=done_bytes >= total_bytes):
                self._emit(
                    {
                        "type": "progress",
                        **self._subject,
                        "step": self._step,
                        "done_bytes": done_bytes,
                        "total_bytes": total_bytes,
                    }
                )

    def warning(self, text: str) -> None:
        """Something the user must know."""
        with self._lock:
            self._emit({"type": "warning", **self._subject, "message": text})


class LogProgress:
    """A line per phase and warning, and one every five seconds between."""

    def __init__(self, machine: str, write: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._machine = printable(machine)
        self._write = write
        self._clock = clock
        self._rate = Rate(LOG_INTERVAL_S, clock)
        self._step = ""
        self._began = clock()
        self._lock = Lock()

    def step(self, text: str) -> None:
        """A new phase begins."""
        with self._lock:
            self._step = printable(text)
            self._began = self._clock()
            self._rate.restart()
            self._write(f"{self._machine}: {self._step}")

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Bytes of the phase behind us."""
        with self._lock:
            if self._rate.due(complete=False):
                elapsed = self._clock() - self._began
                self._write(f"{self._machine}: {self._step}: {advance_text(done_bytes, total_bytes, elapsed)}")

    def warning(self, text: str) -> None:
        """Something the user must know."""
        with self._lock:
            self._write(f"{self._machine}: warning: {printable(text)}")


def advance_text(done_bytes: int, total_bytes: int, elapsed_s: float) -> str:
    """How far, how fast, how long still, for instance `45 % of 30.0 GiB, 487.2 MiB/s, 34 s left`."""
    share = 100 * done_bytes // total_bytes if total_bytes else 100
    text = f"{share} % of {size_text(total_bytes)}"
    if done_bytes <= 0 or elapsed_s <= 0:
        return text
    speed = done_bytes / elapsed_s
    left_s = max(0, total_bytes - done_bytes) / speed
    return f"{text}, {size_text(round(speed))}/s, {left_s:.0f} s left"


def logged(machine: str) -> Progress:
    """Lines, whatever stderr is: for several machines at once."""
    return LogProgress(machine, _log)


@contextmanager
def shown_to_people(machine: str) -> Iterator[Progress]:
    """A bar if stderr is a terminal, else lines."""
    if sys.stderr.isatty():
        from holdfast.cli.bar import progress_bar  # noqa: PLC0415 - rich takes a while, and only a terminal needs it

        with progress_bar(machine) as bar:
            yield bar
    else:
        yield logged(machine)


def _log(line: str) -> None:
    """Write a line to stderr. A log that is full or closed must not end a backup."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)
