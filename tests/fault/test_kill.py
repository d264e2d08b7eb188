"""The real program, killed at random moments of real backups: what was there stays, and the next backup is exact."""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from holdfast.bootstrap.wiring import capture_images
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.protect import protect_images
from holdfast.mover import Care, restore_disk
from holdfast.repository import LocalDirectory, Repository, open_repository
from tests.support.disks import ModelTarget
from tests.support.repositories import PASSPHRASE, new_repository

PROGRAM = Path(__file__).parents[2] / ".venv" / "bin" / "holdfast"
MIB = 1024 * 1024
IMAGE_BYTES = 64 * MIB
DATA_BYTES = 15 * MIB
KILLS = 100
KILLS_PER_REPOSITORY = 10
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "20240611"))


@dataclass
class Site:
    """A repository, an image, and what every point that was ever made held."""

    home: Path
    chance: random.Random
    known: dict[str, bytes] = field(default_factory=dict)
    machine: str = ""
    rounds: int = 0

    @property
    def place(self) -> Path:
        return self.home / "repository"

    @property
    def image(self) -> Path:
        return self.home / "disk.raw"

    def create(self) -> None:
        """With a key slot that costs nothing to open, so that the time goes into the backup."""
        new_repository(LocalDirectory.create(self.place))

    def open(self) -> Repository:
        return open_repository(LocalDirectory.open(self.place), PASSPHRASE)

    def live_on(self) -> None:
        """By turns a new machine, whose disk holds nothing that was ever seen, and changes to the one there is."""
        self.rounds += 1
        noise = np.random.default_rng([SEED, self.chance.getrandbits(32)])
        if self.rounds % 2:
            self.machine = f"machine-{self.rounds}"
            with self.image.open("wb") as image:
                image.truncate(IMAGE_BYTES)
                for _ in range(6):
                    image.seek(self.chance.randrange(IMAGE_BYTES - DATA_BYTES // 6) // 512 * 512)
                    image.write(noise.integers(0, 64, DATA_BYTES // 6, np.uint8).data)
        else:
            with self.image.open("r+b") as image:
                for _ in range(30):
                    image.seek(self.chance.randrange(IMAGE_BYTES - 300_000))
                    image.write(noise.bytes(self.chance.randrange(1, 300_000)))

    def start(self) -> subprocess.Popen[str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return subprocess.Popen(
            [PROGRAM, "backup", "--name", self.machine, "--image", self.image, "--json"],
            env=foreign
            | {
                "HOLDFAST_REPOSITORY": str(self.place),
                "HOLDFAST_PASSPHRASE": PASSPHRASE.decode(),
                "XDG_CACHE_HOME": str(self.home / "cache"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def objects(self) -> int:
        return sum(1 for folder in ("packs", "index") for path in (self.place / folder).rglob("*") if path.is_file())

    def drafts(self) -> list[Path]:
        folder = self.place / "tmp"
        return list(folder.iterdir()) if folder.exists() else []

    def require_points(self) -> int:
        """All known points are there; one that nobody was told of holds the image as it is. Returns how many such."""
        repository = self.open()
        points = {point.id: point for point in repository.points()}
        assert points.keys() >= self.known.keys(), "a point is gone"
        untold = points.keys() - self.known.keys()
        assert len(untold) <= 1
        self.known.update({each: digest(self.image.read_bytes()) for each in untold})
        told = list(self.known)
        for each in {*told[-1:], *self.chance.choices(told, k=min(1, len(told)))}:
            assert digest_of(repository, points[each]) == self.known[each], "a point has changed"
        return len(untold)

    def back_up(self) -> None:
        """The next backup, in this process."""
        captured = capture_images(self.machine, {"disk": self.image})
        result = protect_images(captured, self.open(), care=Care(), progress=Silence())
        repository = self.open()
        point = next(point for point in repository.points() if point.id == result.point)
        self.known[point.id] = digest(self.image.read_bytes())
        assert digest_of(repository, point) == self.known[point.id], "the next backup is not exact"
        assert self.drafts() == [], "drafts of the dead are left"

    def require_whole(self) -> None:
        """Every point ever made, and every byte of the repository."""
        repository = self.open()
        points = {point.id: point for point in repository.points()}
        assert points.keys() == self.known.keys()
        for each, expected in self.known.items():
            assert digest_of(repository, points[each]) == expected
        report = repository.check(Silence())
        assert report.ok, report.damage

    def raze(self) -> None:
        shutil.rmtree(self.place)
        self.known.clear()


def digest(content: bytes | bytearray) -> bytes:
    return blake3(content).digest()


def digest_of(repository: Repository, point: RestorePoint) -> bytes:
    (disk,) = point.disks
    target = ModelTarget(disk.size_bytes)
    restore_disk(repository, disk, target, progress=Silence())
    return digest(target.content)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, random.Random(SEED))
    yield site
    shutil.rmtree(tmp_path)  # no need to keep gigabytes


def seconds_of_a_backup(site: Site) -> tuple[float, float]:
    """(until the work begins, until it ends) of a backup that nobody disturbs."""
    site.create()
    site.live_on()
    began = time.monotonic()
    with site.start() as process:
        assert process.stdout is not None
        process.stdout.readline()
        working = time.monotonic()
        process.stdout.read()
    assert process.returncode == 0
    ended = time.monotonic()
    site.require_points()
    site.raze()
    return working - began, ended - working


def kill_somewhere(site: Site, startup: float, work: float) -> bool:
    """Run a backup and kill it: as it starts, somewhere in its work, or as it stores. Whether it was still alive."""
    with site.start() as process:
        assert process.stdout is not None
        match site.chance.choices(["start", "work", "store"], [1, 4, 5])[0]:
            case "start":
                time.sleep(site.chance.uniform(0, startup))
            case "work":
                process.stdout.readline()
                time.sleep(site.chance.uniform(0, work))
            case _:
                while not site.drafts() and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(site.chance.uniform(0, work / 3))
        was_alive = process.poll() is None
        process.kill()
        process.stdout.read()
    return was_alive and process.returncode < 0


@pytest.mark.timeout(900)
def test_a_hundred_kills_lose_nothing(site: Site) -> None:
    startup, work = seconds_of_a_backup(site)
    struck: Counter[str] = Counter()
    site.create()
    while struck.total() < KILLS:
        site.live_on()
        objects_before = site.objects()
        if kill_somewhere(site, startup, work):
            committed = site.require_points()
            stored = site.objects() > objects_before
            struck["committed" if committed else "stored" if stored else "drafted" if site.drafts() else "early"] += 1
            if struck.total() % KILLS_PER_REPOSITORY == 0:
                site.back_up()
                site.require_whole()
                site.raze()
                site.create()
                continue
        else:
            site.require_points()
        site.back_up()
    assert struck["early"] >= 10, struck
    assert struck["drafted"] + struck["stored"] >= 20, struck
