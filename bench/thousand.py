"""A repository of many points of one disk, made once through the real mover and kept.

Most of what changes from point to point changes again and again in the same tenth of the disk, some lies anywhere, and
a log grows through it. Any state can be computed again from the seed, so readers compare without keeping copies.
"""

import hashlib
import inspect
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.lent import write_and_keep
from bench.measure import say
from bench.site import Site
from bench.synthetic import REGION, Edit, SyntheticDisk
from holdfast.repository import LocalDirectory, create_repository
from holdfast.repository.config import FORMAT, Cut

MACHINE = "aged"
PASSPHRASE = "bench"
SIZE = 2 << 30
_REGIONS = SIZE // REGION
_HOT_REGIONS = _REGIONS // 10
_HOT_WRITES, _COLD_WRITES = 24, 8
_STEP, _LARGEST = 4096, 64 << 10
_RUN_BYTES = 1 << 20
_SEED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgedRepository:
    """`points` are ids, oldest first; `image` holds the disk as of the last one. Not to be changed: work on a copy."""

    repository: Path
    image: Path
    points: Sequence[str]

    def disk_at(self, number: int) -> SyntheticDisk:
        """What the disk held at a point; the first is number 1."""
        disk = SyntheticDisk(SIZE, range(_REGIONS))
        for generation in range(1, number):
            disk.edit(changes(generation))
        return disk


def aged_repository(site: Site, points: int = 1000) -> AgedRepository:
    """The repository with so many points; made first if it is not there, which takes minutes for a thousand."""
    home = site.images / f"aged-{points}-{_recipe()}"
    if not home.exists():
        for outdated in site.images.glob(f"aged-{points}-*"):
            shutil.rmtree(outdated)
        draft = home.with_suffix(".partial")
        draft.mkdir(parents=True)
        _make(draft, points)
        draft.rename(home)
    listed = json.loads((home / "points.json").read_text())
    return AgedRepository(repository=home / "repository", image=home / "disk.raw", points=listed)


def changes(generation: int) -> list[Edit]:
    """What is written between one point and the next."""
    source = Random(_SEED * generation)
    edits = [_write(source, generation, number, _HOT_REGIONS) for number in range(_HOT_WRITES)]
    edits += [_write(source, generation, _HOT_WRITES + number, _REGIONS) for number in range(_COLD_WRITES)]
    run = generation * _RUN_BYTES % SIZE
    return [*edits, Edit(run, _RUN_BYTES, (generation, _HOT_WRITES + _COLD_WRITES))]


def _write(source: Random, generation: int, number: int, regions: int) -> Edit:
    """A write of some pages within one of the first `regions`, which are spread evenly over the disk."""
    region = source.randrange(regions) * (_REGIONS // regions)
    length = source.randrange(_STEP, _LARGEST + 1, _STEP)
    start = source.randrange(0, REGION - length + 1, _STEP)
    return Edit(region * REGION + start, length, (generation, number))


def _recipe() -> str:
    """Another one means another repository."""
    writes = inspect.getsource(changes) + inspect.getsource(_write)
    sizes = (SIZE, _HOT_REGIONS, _HOT_WRITES, _COLD_WRITES, _LARGEST, _RUN_BYTES, _SEED)
    return hashlib.sha256(repr((FORMAT, Cut(), sizes, writes)).encode()).hexdigest()[:8]


def _make(home: Path, points: int) -> None:
    say(f"making a repository of {points} points (once)")
    image = home / "disk.raw"
    SyntheticDisk(SIZE, range(_REGIONS)).write_to(image)
    repository = create_repository(LocalDirectory.create(home / "repository"), PASSPHRASE.encode())
    with image.open("r+b", buffering=0) as file:
        made = [write_and_keep(repository, MACHINE, file, None, [])]
        for generation in range(1, points):
            made.append(write_and_keep(repository, MACHINE, file, made[-1], changes(generation)))
            if generation % 100 == 99:
                say(f"  {generation + 1} points")
    (home / "points.json").write_text(json.dumps([point.id for point in made]))
