"""The peers: restic and borg with the settings their users start from; every write is synced inside the timed span."""

from dataclasses import dataclass
from pathlib import Path

from bench.measure import Timing, run, synced


@dataclass(frozen=True, slots=True)
class Restic:
    """A restic repository; `init` makes version 2, which compresses."""

    home: Path

    def create(self) -> None:
        self._run("init")

    def back_up(self, image: Path) -> Timing:
        return self._run("backup", "--compression", "auto", image)

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

    def create(self) -> None:
        self._run("init", "--encryption", "repokey-blake2", self._repository)

    def back_up(self, image: Path) -> Timing:
        return self._run("create", "--compression", "zstd,1", *self.options, f"{self._repository}::one", image)

    def restore(self, image: Path, directory: Path) -> tuple[Timing, Path]:
        timing = self._run("extract", "--sparse", f"{self._repository}::one", directory=directory)
        return timing, directory / image.relative_to("/")

    @property
    def _repository(self) -> Path:
        return self.home / "repository"

    def _run(self, *arguments: str | Path, directory: Path | None = None) -> Timing:
        environment = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.home)}
        return run(synced(["borg", *arguments], self.home), environment=environment, directory=directory)
