"""The index's local cache: sorted runs as files, which every process of a user maps and none needs.

A file appears whole under its name or not at all, and never changes. Drafts have no name at all, so whoever is killed
leaves none behind. A run that a merge has replaced is unlinked; who has it mapped keeps it. Whatever is not as written
is removed, and is read from the repository again. Where no directory can be used, runs lie in temporary files that
have no name and end with the process.
"""

import mmap
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from holdfast.repository.runs import BadRunError, Run

_SUFFIX: Final = ".run"
_LOOKS: Final = 3
"""Times to look again where another process replaces runs by a merged one meanwhile."""
_BUFFER_BYTES: Final = 1024 * 1024
_PRIVATE: Final = 0o077


class RunFiles:
    """Runs of one repository as files below a directory, or without names if there is none that can be used."""

    def __init__(self, directory: Path | None = None, repository_id: bytes = bytes(16)) -> None:
        self.repository_id = repository_id
        self._directory = directory if directory and _is_ours(directory) else None

    @property
    def lasting(self) -> bool:
        """Whether files outlive the process."""
        return self._directory is not None

    def open(self, listed: Collection[bytes]) -> list[Run]:
        """The runs that are good, largest first, no two with a source in common; sources not `listed` are void."""
        runs: list[Run] = []
        for _ in range(_LOOKS):
            runs, complete = self._look()
            if complete:
                break
        for run in runs:
            run.void[:] = [name not in listed for name in sources_of(run)]
        choice = choose(runs)
        self.remove(choice.superseded)
        return choice.taken

    def keep(self, write: Callable[[BinaryIO], None]) -> Run | None:
        """A run in a file, as `write` writes it; None if there is no room for it anywhere."""
        for directory in (self._directory, Path("/var/tmp"), Path(tempfile.gettempdir())):  # noqa: S108 - not by name
            if directory is not None:
                with suppress(OSError, BadRunError):
                    return self._keep_in(directory, write)
        return None

    def remove(self, runs: Iterable[Run]) -> None:
        """Unlink the files of runs that nobody needs any more."""
        for run in runs:
            if run.file is not None:
                with suppress(OSError):
                    run.file.unlink()

    def clear(self) -> None:
        """Unlink every run: one of them was wrong."""
        for path in self._paths():
            with suppress(OSError):
                path.unlink()

    def _keep_in(self, directory: Path, write: Callable[[BinaryIO], None]) -> Run:
        lasting = directory == self._directory
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w+b", buffering=_BUFFER_BYTES) as draft:  # noqa: PTH123 - it has no path
            write(draft)
            draft.flush()
            if lasting:
                os.fsync(descriptor)
            run = self._mapped(descriptor)
            if lasting:
                run.file = directory / f"{run.checksum.hex()}{_SUFFIX}"
                with suppress(FileExistsError):  # of the same content: the name says it
                    os.link(f"/proc/self/fd/{descriptor}", run.file, src_dir_fd=descriptor)
        return run

    def _look(self) -> tuple[list[Run], bool]:
        """(the runs that are there, whether none of them vanished while looking)."""
        runs, complete = [], True
        for path in self._paths():
            try:
                with path.open("rb") as file:
                    runs.append(self._mapped(file.fileno(), path))
            except FileNotFoundError:
                complete = False
            except (BadRunError, OSError, ValueError):  # the last of an empty file
                with suppress(OSError):
                    path.unlink()
        return runs, complete

    def _mapped(self, descriptor: int, path: Path | None = None) -> Run:
        run = Run(memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)), self.repository_id, path)
        run.in_memory = False
        return run

    def _paths(self) -> list[Path]:
        if self._directory is None:
            return []
        try:
            return [path for path in self._directory.iterdir() if path.suffix == _SUFFIX]
        except OSError:
            return []


class Choice(NamedTuple):
    """Which runs to use, and which of the others nobody needs."""

    taken: list[Run]
    superseded: list[Run]


def choose(runs: Sequence[Run]) -> Choice:
    """The largest runs without a source in common; the others' sources that are then left are read anew."""
    taken: list[Run] = []
    superseded: list[Run] = []
    sources: set[bytes] = set()
    for run in sorted(runs, key=len, reverse=True):
        mine = set(sources_of(run))
        if run.void.all() or mine <= sources:
            superseded.append(run)
        elif mine.isdisjoint(sources):
            taken.append(run)
            sources |= mine
    return Choice(taken, superseded)


def sources_of(run: Run) -> list[bytes]:
    """The names of a run's sources."""
    return [name.tobytes() for name in run.sources["name"]]


def _is_ours(directory: Path) -> bool:
    """Whether the directory is there, made if need be, and only this user can look into it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & _PRIVATE
