"""The peers: restic and borg with the settings their users start from; every write is synced inside the timed span."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.measure import Timing, run, size_of_tree, synced
from bench.site import Site

_BORG_1_4 = "borgbackup==1.4.5"
_UNUSED = "1%"
"""Of what stays, restic's own 5 % would leave a seventh of what died where half of all states are forgotten."""


class Pruner(Protocol):
    """Anything that keeps many states of one disk in one repository, and forgets some of them again."""

    @property
    def home(self) -> Path: ...
    def create(self) -> None: ...
    def keep(self, name: str, image: Path) -> Timing: ...
    def stored_bytes(self) -> int: ...
    def states(self) -> list[str]:
        """The names of all states, oldest first."""

    def unlock(self) -> Timing:
        """The least that needs the key."""

    def forget(self, states: Sequence[str]) -> Timing: ...
    def free(self) -> Timing:
        """Give back the room that only forgotten states needed."""

    def needed_bytes(self) -> int:
        """What the states that are left need, stored once, by the program's own account."""


class Keeper(Protocol):
    """Anything that keeps many states of many disks in one repository."""

    @property
    def home(self) -> Path: ...
    def create(self) -> None: ...
    def keep(self, name: str, image: Path) -> Timing:
        """Take the image as the newest state of this machine."""

    def stored_bytes(self) -> int: ...


def borg_1_4(site: Site) -> Path:
    """Borg in the newest release of its stable line, built once from the package index."""
    place = site.images / "borg-1.4"
    if not _runs(place / "bin/borg"):
        subprocess.run(["python3", "-m", "venv", "--clear", place], check=True)
        subprocess.run([place / "bin/pip", "install", "-q", _BORG_1_4], check=True)
    return place / "bin/borg"


def _runs(program: Path) -> bool:
    """Whether it is there and its interpreter too: a virtual environment does not survive being moved."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Restic:
    """A restic repository; `init` makes version 2, which compresses."""

    home: Path

    def create(self) -> None:
        self._run("init")

    def back_up(self, image: Path) -> Timing:
        return self._run("backup", "--compression", "auto", image)

    def keep(self, name: str, image: Path) -> Timing:
        return self._run("backup", "--compression", "auto", "--host", name, image)

    def stored_bytes(self) -> int:
        return size_of_tree(self.home / "repository")

    def restore(self, image: Path, directory: Path) -> tuple[Timing, Path]:
        timing = self._run("restore", "latest", "--target", directory)
        return timing, directory / image.relative_to("/")

    def states(self) -> list[str]:
        snapshots = json.loads(self._run("snapshots", "--json").output)
        return [each["id"] for each in sorted(snapshots, key=lambda each: each["time"])]

    def unlock(self) -> Timing:
        return self._run("cat", "config")

    def forget(self, states: Sequence[str]) -> Timing:
        return self._run("forget", *states)

    def free(self) -> Timing:
        return self._run("prune", "--max-unused", _UNUSED)

    def needed_bytes(self) -> int:
        size: int = json.loads(self._run("stats", "--mode", "raw-data", "--json").output)["total_size"]
        return size

    def _run(self, *arguments: str | Path) -> Timing:
        environment = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(self.home / "cache")}
        command = ["restic", "--quiet", "--repo", self.home / "repository", *arguments]
        return run(synced(command, self.home), environment=environment)


@dataclass(frozen=True, slots=True)
class Borg:
    """A borg repository. `options` are those of `borg create` beyond the compression."""

    home: Path
    options: tuple[str, ...] = ()
    program: str | Path = "borg"

    def create(self) -> None:
        self._run("init", "--encryption", "repokey-blake2", self._repository)

    def back_up(self, image: Path) -> Timing:
        return self._run("create", "--compression", "zstd,1", *self.options, f"{self._repository}::one", image)

    def keep(self, name: str, image: Path) -> Timing:
        archive = f"{self._repository}::{name}-{{now:%s%f}}"
        return self._run("create", "--compression", "zstd,1", *self.options, archive, image)

    def stored_bytes(self) -> int:
        return size_of_tree(self._repository)

    def restore(self, image: Path, directory: Path) -> tuple[Timing, Path]:
        timing = self._run("extract", "--sparse", f"{self._repository}::one", directory=directory)
        return timing, directory / image.relative_to("/")

    def states(self) -> list[str]:
        return self._run("list", "--short", self._repository).output.split()

    def unlock(self) -> Timing:
        return self._run("list", "--short", "--last", "1", self._repository)

    def forget(self, states: Sequence[str]) -> Timing:
        return self._run("delete", self._repository, *states)

    def free(self) -> Timing:
        return self._run("compact", self._repository)

    def needed_bytes(self) -> int:
        size: int = json.loads(self._run("info", "--json", self._repository).output)["cache"]["stats"]["unique_csize"]
        return size

    @property
    def _repository(self) -> Path:
        return self.home / "repository"

    def _run(self, *arguments: str | Path, directory: Path | None = None) -> Timing:
        environment = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.home)}
        return run(synced([self.program, *arguments], self.home), environment=environment, directory=directory)


@dataclass(frozen=True, slots=True)
class Borg2:
    """A repository of borg's coming version, which the distribution ships as a second program."""

    home: Path

    def create(self) -> None:
        self._run("rcreate", "--encryption", "repokey-blake2-chacha20-poly1305")

    def back_up(self, image: Path) -> Timing:
        return self._run("create", "--compression", "zstd,1", "one", image)

    def keep(self, name: str, image: Path) -> Timing:
        return self._run("create", "--compression", "zstd,1", f"{name}-{{now:%s%f}}", image)

    def restore(self, image: Path, directory: Path) -> tuple[Timing, Path]:
        timing = self._run("extract", "--sparse", "one", directory=directory)
        return timing, directory / image.relative_to("/")

    def stored_bytes(self) -> int:
        return size_of_tree(self.home / "repository")

    def _run(self, verb: str, *arguments: str | Path, directory: Path | None = None) -> Timing:
        environment = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.home)}
        command = ["borg2", "--repo", self.home / "repository", verb, *arguments]
        return run(synced(command, self.home), environment=environment, directory=directory)
