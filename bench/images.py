"""Data sets that are slow to make: disks of real Debian systems, built once and kept under their recipe's digest."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import run, say
from bench.site import Site

_APT_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")
_RELEASE = "bookworm"
_MMDEBSTRAP = (
    *("unshare", "--mount"),  # so that no mount outlives it, whatever ends it
    *("mmdebstrap", "--mode=root", "--variant=apt", "--dpkgopt=force-unsafe-io", "--aptopt=Acquire::Languages none"),
)
_CUT = ("qemu-img", "convert", "-S", "4k", "-O", "raw")  # a hole for every zero block, so that "allocated" is one thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A disk that holds one ext4 with a Debian installation; `uuid` also seeds the directory hashes."""

    name: str
    size_gib: int
    uuid: str
    packages: tuple[str, ...]
    suite: str = _RELEASE

    @property
    def file_name(self) -> str:
        return f"{self.name}-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}.raw"


SERVER = Recipe(
    name="server",
    size_gib=4,
    uuid="5eed0000-0000-4000-8000-00000000000a",
    packages=(
        *("linux-image-amd64", "nginx", "postgresql", "python3-django", "python3-scipy", "golang", "docker.io"),
        *("build-essential", "git"),
    ),
)
SIBLING = Recipe(
    name="sibling",
    size_gib=2,
    uuid="5eed0000-0000-4000-8000-00000000000b",
    packages=("linux-image-amd64", "apache2", "mariadb-server", "php", "nodejs", "build-essential"),
)


def debian_image(site: Site, recipe: Recipe) -> Path:
    """The recipe's image as a sparse raw file; built first if it is not there, which takes minutes."""
    path = site.images / recipe.file_name
    if not path.exists():
        site.images.mkdir(parents=True, exist_ok=True)
        for outdated in site.images.glob(f"{recipe.name}-*.raw"):
            outdated.unlink()
        _build(site, recipe, path)
    say(f"image {path.name}: {allocated_bytes(path) / 2**30:.2f} of {recipe.size_gib} GiB allocated")
    return path


def allocated_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


@contextmanager
def as_qcow2(raw: Path, path: Path, *, size_gib: int | None = None) -> Iterator[Path]:
    """A qcow2 copy of a raw image, enlarged if asked; removed afterwards."""
    try:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        if size_gib:
            subprocess.run(["qemu-img", "resize", "-q", path, f"{size_gib}G"], check=True)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _build(site: Site, recipe: Recipe, path: Path) -> None:
    say(f"building the image {recipe.name} (once)")
    work = site.place(f"build-{recipe.name}")
    tree, draft, cut = work / "tree", work / "draft.raw", work / "cut.raw"
    try:
        sources = _sources(recipe.suite, work)
        run([*_MMDEBSTRAP, f"--include={','.join(recipe.packages)}", recipe.suite, tree, *sources])
        identity = ("-U", recipe.uuid, "-E", f"hash_seed={recipe.uuid}")
        run(["mke2fs", "-q", "-F", "-t", "ext4", *identity, "-d", tree, draft, f"{recipe.size_gib}G"])
        run([*_CUT, draft, cut])
        cut.rename(path)
    finally:
        shutil.rmtree(work)


def _sources(suite: str, work: Path) -> list[Path]:
    """This machine's sources of packages, told of another release if need be."""
    sources = []
    for known in (Path(name) for name in _APT_SOURCES):
        if known.exists():
            source = work / known.name
            source.write_text(known.read_text().replace(_RELEASE, suite))
            sources.append(source)
    return sources
