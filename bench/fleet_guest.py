"""One step in a guest's life, on its disk: packages are installed, logs grow, a database's pages change.

unshare --mount python -m bench.fleet_guest IMAGE ARCHIVES SEED PACKAGE...
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PAGE = 8192
_PAGES = 6000
_CHANGED_PAGES = 300
_LOG_LINES = 20_000
_FORBID_SERVICES = "#!/bin/sh\nexit 101\n"


def main(image: Path, archives: Path, seed: str, packages: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as place, ExitStack() as mounts:
        root = Path(place)
        _mount(mounts, root, "-o", "loop", image)
        with _usable(root, archives):
            _install(root, packages)
        (root / "etc/hostname").write_text(f"{image.stem}\n")
        _work(root / "srv", random.Random(seed))
        _run("fstrim", root)


@contextmanager
def _usable(root: Path, archives: Path) -> Iterator[None]:
    """Programs can run in the guest's tree, and reach the archive; what was put there for it is removed again."""
    policy, resolver = root / "usr/sbin/policy-rc.d", root / "etc/resolv.conf"
    policy.write_text(_FORBID_SERVICES)
    policy.chmod(0o755)
    resolver.write_text(Path("/etc/resolv.conf").read_text())
    try:
        with ExitStack() as mounts:
            _mount(mounts, root / "proc", "-t", "proc", "proc")
            for name, target in (("archives", "var/cache/apt/archives"), ("lists", "var/lib/apt/lists")):
                (archives / name / "partial").mkdir(parents=True, exist_ok=True)
                _mount(mounts, root / target, "--bind", archives / name)
            if len(list((archives / "lists").iterdir())) == 1:
                _apt(root, "update")
            yield
    finally:
        policy.unlink()
        resolver.unlink()


def _mount(mounts: ExitStack, target: Path, *what: str | Path) -> None:
    _run("mount", *what, target)
    mounts.callback(_run, "umount", target)


def _install(root: Path, packages: Sequence[str]) -> None:
    _apt(root, "install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io", *packages)


def _apt(root: Path, *arguments: str) -> None:
    subprocess.run(
        ["chroot", root, "apt-get", "-q", "-o", "APT::Keep-Downloaded-Packages=true", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _work(place: Path, chance: random.Random) -> None:
    """A database of pages that compress about as databases do, some of them rewritten in place, and a log."""
    database, log = place / "database", place / "log"
    if not database.exists():
        database.write_bytes(b"".join(_page(chance) for _ in range(_PAGES)))
    with database.open("r+b") as file:
        for _ in range(_CHANGED_PAGES):
            file.seek(chance.randrange(_PAGES) * _PAGE)
            file.write(_page(chance))
    with log.open("a") as file:
        for _ in range(_LOG_LINES):
            file.write(
                f"{chance.getrandbits(40):012x} GET /item/{chance.randrange(10_000)} 200 {chance.randrange(90_000)}\n"
            )


def _page(chance: random.Random) -> bytes:
    rows = b"".join(
        b"%08d|%s|active;" % (chance.randrange(10**8), chance.randbytes(12).hex().encode()) for _ in range(190)
    )
    return rows[:_PAGE].ljust(_PAGE, b"\0")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
