"""One image file backed up and restored by us, by restic, by borg, and as one compressed file."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.figures import Figure, measures, speed_ratio
from bench.images import SERVER, debian_image
from bench.limits import Zstd
from bench.measure import Timing, interleave, require_equal, warm
from bench.ours import Holdfast
from bench.peers import Borg, Borg2, Restic, borg_1_4
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
    "restore.throughput_vs_best_peer",
    "restore.throughput_vs_limit",
)
def against_peers(site: Site) -> Iterator[tuple[str, Figure]]:
    image = debian_image(site, SERVER)
    warm(image)
    ours = Holdfast(site.holdfast, site.scratch / "holdfast")
    program = borg_1_4(site)
    borg, borg2 = Borg(site.scratch / "borg", program=program), Borg2(site.scratch / "borg2")
    restic, zstd = Restic(site.scratch / "restic"), Zstd(site.scratch / "zstd")
    fixed = _back_up(site, Borg(site.scratch / "borg-fixed", _FIXED_CHUNKS, program), image)
    for tool in (borg2, zstd):
        _back_up(site, tool, image)
    # ours runs next to what it is compared with: neighbours in time share their noise
    full = {f"full {tool.home.name}": partial(_back_up, site, tool, image) for tool in (restic, ours, borg)}
    restore = {
        f"restore {tool.home.name}": partial(_restore, site, tool, image) for tool in (restic, ours, zstd, borg, borg2)
    }
    runs = interleave(full | restore)

    full_note = f"{_FULL}; borg {' '.join(_FIXED_CHUNKS)} took {fixed.seconds:.1f} s once"
    yield "full.throughput_vs_restic", speed_ratio(runs["full holdfast"], runs["full restic"], _FULL)
    yield "full.throughput_vs_borg", speed_ratio(runs["full holdfast"], runs["full borg"], full_note)
    for peer, name in (("restic", "restic"), ("borg", "borg"), ("limit", "zstd")):
        figure = speed_ratio(runs["restore holdfast"], runs[f"restore {name}"], _RESTORE)
        yield f"restore.throughput_vs_{peer}", figure
    peers = [runs[f"restore {tool.home.name}"] for tool in (restic, borg, borg2)]
    best = [min(round_, key=lambda timing: timing.seconds) for round_ in zip(*peers, strict=True)]
    note = f"{_RESTORE}; the fastest of restic, borg and borg2 in each round"
    yield "restore.throughput_vs_best_peer", speed_ratio(runs["restore holdfast"], best, note)


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
