"""Many processes write to one repository at once: each point exact, the log dense, nothing lost."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from holdfast.repository import LocalDirectory, Repository, open_repository
from tests.e2e.command import Site
from tests.support.repositories import PASSPHRASE, check, new_repository, restored

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from holdfast.repository import LocalDirectory, open_repository
from tests.fault.test_many_writers import content, BACKUPS
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, back_up_disks
repository = open_repository(LocalDirectory.open(Path(sys.argv[1])), PASSPHRASE)
name = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
parent, before = None, b""
for number in range(BACKUPS):
    now = content(name, number)
    disk = changed(now, before) if parent else whole(now)
    outcome = back_up_disks(repository, [disk], parent=parent, machine=name)
    parent, before = outcome.point, now
    print(parent.id, flush=True)
"""
WRITERS = "abcd"
BACKUPS = 12


def content(writer: str, number: int) -> bytes:
    """Half of it every writer's, a quarter the writer's own, a quarter the backup's own."""
    shared = random.Random(0).randbytes(400_000)
    own = random.Random(writer).randbytes(200_000)
    return shared + own + random.Random(f"{writer}{number}").randbytes(200_000 + number)


def entries(place: Path) -> list[int]:
    return sorted(int(path.name) for path in (place / "log").iterdir())


def require_sound(repository: Repository, place: Path, points: int) -> None:
    assert entries(place) == list(range(1, points + 2))
    report = check(repository)
    assert report.ok, report.damage
    assert list((place / "tmp").iterdir()) == []


def test_processes_that_commit_all_the_time_get_every_point_exactly_once(tmp_path: Path) -> None:
    place = tmp_path / "repository"
    new_repository(LocalDirectory.create(place))
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WRITER, place, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in WRITERS
    }
    for writer in writers.values():
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers.values():
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = {name: writer.communicate(timeout=120)[0].split() for name, writer in writers.items()}
    assert {writer.returncode for writer in writers.values()} == {0}
    repository = open_repository(LocalDirectory.open(place), PASSPHRASE)
    points = {point.id: point for point in repository.points()}
    assert sorted(points) == sorted(point for ids in told.values() for point in ids)
    assert len(points) == len(WRITERS) * BACKUPS
    for name, ids in told.items():
        for number, point in enumerate(ids):
            assert points[point].machine == name
            assert restored(repository, points[point]) == content(name, number)
    require_sound(repository, place, len(points))


def test_the_program_run_several_times_at_once_does_not_get_in_its_own_way(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    images = {}
    for number in range(4):
        images[f"m{number}"] = tmp_path / f"{number}.raw"
        images[f"m{number}"].write_bytes(content(f"m{number}", number) * 3)

    def protect(name: str) -> str:
        done = site.run("backup", "--name", name, "--image", f"disk={images[name]}", "--json")
        assert done.status == 0, done.err
        (result,) = done.end["results"]
        return str(result["point"])

    with ThreadPoolExecutor(4) as pool:
        made = dict(zip(images, pool.map(protect, images), strict=True))
    repository = open_repository(LocalDirectory.open(site.repository), PASSPHRASE)
    points = {point.id: point for point in repository.points()}
    assert points.keys() == set(made.values())
    for name, image in images.items():
        assert restored(repository, points[made[name]], "disk") == image.read_bytes()
    require_sound(repository, site.repository, 4)
