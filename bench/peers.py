"""The peers: restic and borg with the settings their users start from; every write is synced inside the timed span."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.measure import Timing, run, size_of_tree, synced
from bench.site import Site

_BORG_1_4 = "borgbackup==1.4.5"


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
    if not (place / "bin/borg").exists():
        subprocess.run(["python3", "-m", "venv", "--clear", place], check=True)
        subprocess.run([place / "bin/pip", "install", "-q", _BORG_1_4], check=True)
    return place / "bin/borg"


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
