"""Holdfast driven through its command line and `--json`, as any program outside would."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_PROGRAM = Path(__file__).parents[1] / ".venv" / "bin" / "holdfast"
_DONE, _DONE_WITH_WARNINGS = 0, 3
_SECONDS_TO_GIVE_UP = 15.0

Event = Mapping[str, Any]


class ProgramError(Exception):
    """A command that failed: the error it reported (kind, message, hint, code) and its exit status."""

    def __init__(self, error: dict[str, str], exit_status: int) -> None:
        super().__init__(error["message"])
        self.error = error
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The installed program with a repository and a cache of its own under `home`."""

    home: Path
    passphrase: str

    def call(self, *arguments: str) -> Any:
        """Run a command that answers with one JSON value, and return that. Raises ProgramError."""
        lines: list[str] = []
        self._run(arguments, lines.append)
        return json.loads("".join(lines))

    def stream(self, *arguments: str, watch: Callable[[Event], None] = lambda _event: None) -> list[dict[str, Any]]:
        """Run a command that answers with JSON lines; `watch` sees each. Returns its results. Raises ProgramError."""
        last: Event = {}

        def hear(line: str) -> None:
            nonlocal last
            last = json.loads(line)
            watch(last)

        self._run(arguments, hear)
        return list(last["results"])

    def _run(self, arguments: Sequence[str], hear: Callable[[str], None]) -> None:
        with tempfile.TemporaryFile("w+") as errors, self._running(arguments, errors) as process:
            assert process.stdout is not None
            for line in process.stdout:
                hear(line)
            status = process.wait()
            if status not in (_DONE, _DONE_WITH_WARNINGS):
                errors.seek(0)
                raise ProgramError(_reported_error(arguments, errors.read()), max(status, 1))

    @contextmanager
    def _running(self, arguments: Sequence[str], errors: IO[str]) -> Iterator[subprocess.Popen[str]]:
        """The running command. Whatever ends the context early interrupts it and waits until it has cleaned up."""
        process = subprocess.Popen(
            [_PROGRAM, *arguments, "--json"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C comes to it through us, once
        )
        with process:
            try:
                yield process
            finally:
                _give_up(process)

    def _environment(self) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return foreign | {
            "HOLDFAST_REPOSITORY": str(self.home / "repository"),
            "HOLDFAST_PASSPHRASE": self.passphrase,
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }


def _give_up(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_SECONDS_TO_GIVE_UP)
    except subprocess.TimeoutExpired:
        process.kill()


def _reported_error(arguments: Sequence[str], stderr: str) -> dict[str, str]:
    """The last error on stderr; a program that died without a word is an error too."""
    for line in reversed(stderr.splitlines()):
        if line.startswith('{"error"'):
            return dict(json.loads(line)["error"])
    said = stderr.strip() or "it said nothing"
    return {"kind": "failed", "message": f"holdfast {' '.join(arguments)}: {said}", "hint": "", "code": "unexplained"}
