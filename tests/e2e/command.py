"""The installed program as a subprocess, with a repository and a cache of its own: status, stdout and stderr."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.repository import KdfCost, LocalDirectory, create_repository

PROGRAM = Path(sys.executable).with_name("holdfast")
PASSPHRASE = "correct horse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def end(self) -> dict[str, Any]:
        """The last line of a stream."""
        return self.events[-1]

    @property
    def error(self) -> dict[str, Any]:
        """The error object on stderr, with its exit status checked."""
        told = json.loads(self.err.splitlines()[-1])
        assert set(told) == {"error", "exit"}
        assert told["exit"] == self.status
        assert set(told["error"]) == {"kind", "message", "hint", "code"}
        return dict(told["error"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place to run commands in."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    def create(self) -> None:
        """Make the repository with a passphrase that is cheap to try: each command would take a second more."""
        cost = KdfCost(memory_kib=64, iterations=1, lanes=1)
        create_repository(LocalDirectory.create(self.repository), PASSPHRASE.encode(), cost=cost)

    def run(self, *arguments: str | Path, **changes: str | None) -> Finished:
        """Run to the end. `changes` replace environment variables, None takes one away."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.home,
            env=self.variables(changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Finished(status=done.returncode, out=done.stdout, err=done.stderr)

    def start(self, *arguments: str | Path, **streams: Any) -> "subprocess.Popen[str]":
        """Start, with stdout and stderr as pipes unless `streams` says otherwise."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen([PROGRAM, *arguments], cwd=self.home, env=self.variables({}), text=True, **streams)

    def back_up(self, name: str, *images: str | Path) -> dict[str, Any]:
        """Protect images; the one result."""
        options: Sequence[str | Path] = [word for image in images for word in ("--image", image)]
        done = self.run("backup", "--name", name, *options, "--json")
        assert done.status == 0, done.err
        (result,) = done.end["results"]
        return dict(result)

    def variables(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        ours = {
            "HOLDFAST_REPOSITORY": str(self.repository),
            "HOLDFAST_PASSPHRASE": PASSPHRASE,
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **self.environment,
            **changes,
        }
        return {name: value for name, value in {**foreign, **ours}.items() if value is not None}
