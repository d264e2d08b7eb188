"""Files of a point: how long until one sees any, and a large one brought back against a plain copy of it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Figure, Pair, measures, time_ratio
from bench.measure import ROUNDS, Timing, WrongBytesError, interleave, require_equal, run, say, synced, warm
from bench.ours import Holdfast
from bench.site import Site

_FOLDERS, _FILES = 1000, 100
_LARGE_BYTES = 1 << 30
_NOTE = f"a point of a 2 GiB disk with an ext4 of {_FOLDERS * _FILES} files and one of 1 GiB of noise"


@measures("files.first_listing_s", "files.get_1gib_vs_plain_copy")
def files(site: Site) -> Iterator[tuple[str, Figure]]:
    image, large = _image(site)
    holdfast = Holdfast(site.holdfast, site.place("holdfast"))
    holdfast.create()
    holdfast.back_up_image("guest", image)
    listings = [_first_listing(holdfast, number) for number in range(ROUNDS)]
    yield (
        "files.first_listing_s",
        Figure(
            value=median(each.seconds for each in listings),
            runs=[Pair(ours=each.seconds) for each in listings],
            note=f"{_NOTE}; `file ls` of a folder of {_FILES}, nothing cached here, the passphrase's second included",
        ),
    )
    place = site.place("back")
    warm(large)

    def get() -> Timing:
        output = place / "ours"
        output.unlink(missing_ok=True)
        timing = holdfast.get_file("guest@latest:/large", output)
        require_equal(large, output)
        return timing

    def copy() -> Timing:
        return run(synced(["cp", large, place / "theirs"], place))

    runs = interleave({"holdfast": get, "cp": copy})
    note = f"{_NOTE}; `file get` of it against `cp` of the same file out of the page cache, both synced; compared"
    yield "files.get_1gib_vs_plain_copy", time_ratio(runs["holdfast"], runs["cp"], note)


def _first_listing(holdfast: Holdfast, number: int) -> Timing:
    shutil.rmtree(holdfast.home / "cache", ignore_errors=True)
    timing = holdfast.list_files(f"guest@latest:/folder{number:04}")
    found = json.loads(timing.output)
    if len(found) != _FILES:
        raise WrongBytesError(f"{len(found)} of {_FILES} files were listed")
    return timing


def _image(site: Site) -> tuple[Path, Path]:
    """The disk, and the large file in it; made once."""
    image, large = site.images / "files.raw", site.images / "files-large"
    if image.exists() and large.exists():
        return image, large
    say(f"making {image}")
    top = site.place("top")
    for folder in range(_FOLDERS):
        (top / f"folder{folder:04}").mkdir()
        for file in range(_FILES):
            (top / f"folder{folder:04}" / f"file{file:03}").touch()
    site.images.mkdir(parents=True, exist_ok=True)
    with large.open("wb") as output:
        for _ in range(_LARGE_BYTES >> 20):
            output.write(os.urandom(1 << 20))
    (top / "large").hardlink_to(large)
    draft = image.with_suffix(".partial")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-N", "150000", "-d", top, draft, "2G"], check=True)
    draft.rename(image)
    return image, large
