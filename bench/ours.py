"""Our side: Holdfast driven through its command line as a user drives it, with nothing but its defaults."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import RunError, Timing, run, size_of_tree, synced

_DONE, _DONE_WITH_WARNINGS = 0, 3
_DISK = "vda"  # what libvirt calls a guest's first disk; images take the same name here


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished command: what it took, and the single result it reported in its last line."""

    timing: Timing
    result: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A finished copy: what it took, and the points that it brought."""

    timing: Timing
    results: list[Any]


@dataclass(frozen=True, slots=True)
class Holdfast:
    """A repository with a cache of its own; both vanish with their home, unless the repository is at a `url`.

    It is opened with a passphrase, which takes a second, or with a key file.
    """

    program: Path
    home: Path
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    key_file: Path | None = None

    def create(self, *options: str | Path) -> None:
        self._run("repository", "create", *options)

    def copy_to(self, target: str, environment: Mapping[str, str]) -> Copied:
        """Copy everything to another repository, which may need more to be reached."""
        timing = self._run("copy", "run", self.repository, target, **environment)
        return Copied(timing=timing, results=_end(timing)["results"])

    def back_up(self, image: Path) -> Timing:
        return self.back_up_image("image", image).timing

    def restore(self, _image: Path, directory: Path) -> tuple[Timing, Path]:
        done, output = self.restore_disk("image@latest", directory)
        return done.timing, output

    def back_up_image(self, name: str, image: Path) -> Done:
        return self._stream("backup", "--name", name, "--image", f"{_DISK}={image}")

    def back_up_machine(self, uri: str, machine: str) -> Done:
        return self._stream("backup", "--connect", uri, machine)

    def restore_disk(self, point: str, directory: Path) -> tuple[Done, Path]:
        output = directory / "disk.raw"
        return self._stream("restore", "disk", point, "--disk", _DISK, "--output", output), output

    def restore_machine(self, uri: str, point: str, name: str, storage: Path) -> Done:
        return self._stream("restore", "machine", point, "--connect", uri, "--name", name, "--storage", storage)

    def bring_back(self, uri: str, point: str) -> Done:
        return self._stream("restore", "machine", point, "--connect", uri, "--in-place")

    def keep(self, name: str, image: Path) -> Timing:
        return self.back_up_image(name, image).timing

    def list_files(self, where: str) -> Timing:
        """A folder of a point; the listing is the output."""
        return self._run("file", "ls", where)

    def get_file(self, where: str, output: Path) -> Timing:
        """A file of a point, synced."""
        command: list[str | Path] = [self.program, "file", "get", where, "--output", output, "--json"]
        return run(synced(command, output.parent), environment=self._environment())

    def stored_bytes(self) -> int:
        return self.size_bytes()

    def size_bytes(self) -> int:
        return size_of_tree(self.home / "repository")

    def boot_machine(self, uri: str, point: str, name: str, storage: Path) -> dict[str, Any]:
        """Run a point as a machine, and leave it on backup."""
        where = ("--connect", uri, "--name", name, "--storage", storage, "--keep-on-backup")
        return self._stream("restore", "boot", point, *where).result

    def remove_mount(self, mount: str) -> None:
        """With the machine that runs from it, if there is one."""
        self._run("mount", "remove", mount, "--yes")

    def fetched_bytes(self, mount: str) -> int:
        """What a mount's server has read until now, its own program included."""
        mounts = json.loads(self._run("mount", "list").output)
        (process,) = [each["process"] for each in mounts if each["id"] == mount]
        counted = Path(f"/proc/{process}/io").read_text().split()
        return int(counted[counted.index("rchar:") + 1])

    def fetched_when_idle(self, point: str) -> int:
        """What a server reads before anybody asks it for anything."""
        mount = json.loads(self._run("mount", "create", point, "--nbd").output)["id"]
        fetched = self.fetched_bytes(mount)
        self.remove_mount(mount)
        return fetched

    def unlock(self) -> Timing:
        """The least that needs the key; what there is beside it is read too."""
        return self._run("repository", "info")

    def purge(self, points: Sequence[str]) -> Timing:
        """Delete these points for good; what they needed stays until it is collected."""
        return self._run("point", "delete", "--purge", "--yes", *points)

    def collect(self) -> Timing:
        return self._run("repository", "collect")

    def check_by_name(self) -> Timing:
        """Without the passphrase."""
        environment = {"HOLDFAST_REPOSITORY": self.repository, "XDG_CACHE_HOME": str(self.home / "cache")}
        return run([self.program, "repository", "check", "--level", "keyless", "--json"], environment=environment)

    @property
    def repository(self) -> str:
        """Where it is."""
        return self.url or str(self.home / "repository")

    def _environment(self) -> dict[str, str]:
        return {
            "HOLDFAST_REPOSITORY": self.repository,
            **({"HOLDFAST_KEY_FILE": str(self.key_file)} if self.key_file else {"HOLDFAST_PASSPHRASE": "bench"}),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **self.environment,
        }

    def _stream(self, *arguments: str | Path) -> Done:
        timing = self._run(*arguments)
        end = _end(timing)
        if len(end["results"]) != 1:
            raise RunError(f"holdfast {arguments[0]} did not end with its one result: {timing.output[-2000:]}")
        return Done(timing=timing, result=end["results"][0])

    def _run(self, *arguments: str | Path, **more: str) -> Timing:
        environment = {**self._environment(), **more}
        return run([self.program, *arguments, "--json"], environment=environment, accept=(_DONE, _DONE_WITH_WARNINGS))


def _end(timing: Timing) -> dict[str, Any]:
    """The last line of a stream."""
    end: dict[str, Any] = json.loads(timing.output.splitlines()[-1])
    if end.get("type") != "end":
        raise RunError(f"a stream did not end: {timing.output[-2000:]}")
    return end


def require_incremental(done: Done) -> Done:
    """Raise RunError if the backup read its disks in full."""
    if done.result["capture"] != "incremental":
        reasons = "; ".join(disk["reason"] for disk in done.result["disks"])
        raise RunError(f"the backup of {done.result['machine']} was no increment: {reasons}")
    return done
