"""One image file backed up and restored by us, by restic, by borg, and as one compressed file."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.figures import Figure, measures, speed_ratio
from bench.images import SERVER, debian_image
from bench.limits import Zstd
from bench.measure import Timing, interleave, median_seconds, require_equal, warm
from bench.ours import Holdfast
from bench.peers import Borg, Restic
from bench.site import Site

_FIXED_CHUNKS = ("--sparse", "--chunker-params", "fixed,4194304")
_NOTE = "every restore compared with the image; both sides synced; page cache warm"
_FULL = f"the same raw image into fresh repositories; {_NOTE} (image)"
_RESTORE = f"to a raw file; {_NOTE} (repository, just written)"


class Tool(Protocol):
    """Anything that can put an image away and bring it back."""

    @property
    def home(self) -> Path: ...
    def create(self) -> None: ...
    def back_up(self, image: Path) -> Timing: ...
    def restore(self, image: Path, directory: Path) -> tuple[Timing, Path]: ...


@measures(
    "full.throughput_vs_restic",
    "full.throughput_vs_borg",
    "restore.throughput_vs_restic",
    "restore.throughput_vs_borg",
    "restore.throughput_vs_limit",
)
def against_peers(site: Site) -> Iterator[tuple[str, Figure]]:
    image = debian_image(site, SERVER)
    warm(image)
    tools: dict[str, Tool] = {
        "holdfast": Holdfast(site.holdfast, site.scratch / "holdfast"),
        "restic": Restic(site.scratch / "restic"),
        "borg": Borg(site.scratch / "borg"),
        "borg, fixed chunks": Borg(site.scratch / "borg-fixed", _FIXED_CHUNKS),
        "zstd": Zstd(site.scratch / "zstd"),
    }
    full = {f"back up: {name}": partial(_back_up, site, tool, image) for name, tool in tools.items()}
    restore = {f"restore: {name}": partial(_restore, site, tool, image) for name, tool in tools.items()}
    runs = interleave(full | restore)
    ours = runs["back up: holdfast"]
    yield "full.throughput_vs_restic", speed_ratio(ours, runs["back up: restic"], _FULL)
    yield (
        "full.throughput_vs_borg",
        speed_ratio(ours, runs["back up: borg"], f"{_FULL}; {_with_fixed(runs, 'back up')}"),
    )
    ours = runs["restore: holdfast"]
    yield "restore.throughput_vs_restic", speed_ratio(ours, runs["restore: restic"], _RESTORE)
    yield (
        "restore.throughput_vs_borg",
        speed_ratio(ours, runs["restore: borg"], f"{_RESTORE}; {_with_fixed(runs, 'restore')}"),
    )
    yield "restore.throughput_vs_limit", speed_ratio(ours, runs["restore: zstd"], _RESTORE)


def _back_up(site: Site, tool: Tool, image: Path) -> Timing:
    site.place(tool.home.name)
    tool.create()
    return tool.back_up(image)


def _restore(site: Site, tool: Tool, image: Path) -> Timing:
    """Restore into an empty directory and compare; only then does the time count."""
    directory = site.place("restored")
    timing, output = tool.restore(image, directory)
    require_equal(image, output)
    shutil.rmtree(directory)
    return timing


def _with_fixed(runs: dict[str, list[Timing]], work: str) -> str:
    return f"borg with {' '.join(_FIXED_CHUNKS)}: {median_seconds(runs[f'{work}: borg, fixed chunks']):.1f} s"
