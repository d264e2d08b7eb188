"""Collections beside backups, deletions and each other, in processes of their own, and killed at random moments."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from holdfast.repository import LocalDirectory, Repository, open_repository
from tests.e2e.command import Site
from tests.support.collections import collect, plan_of, purge
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, back_up_disks, check, new_repository, restored

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "20260722"))
BACKUPS = 15
KEPT = 3
KILLS = 15
WRITER = """
import sys
from pathlib import Path
from holdfast.repository import LocalDirectory, open_repository
from tests.fault.test_collections_race import content, BACKUPS, KEPT
from tests.support.collections import purge
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, back_up_disks
repository = open_repository(LocalDirectory.open(Path(sys.argv[1])), PASSPHRASE)
name = sys.argv[2]
made = []
for number in range(BACKUPS):
    now = content(name, number)
    disk = changed(now, content(name, number - 1)) if made else whole(now)
    made.append(back_up_disks(repository, [disk], parent=made[-1] if made else None, machine=name).point)
    if len(made) > KEPT:
        purge(repository, made[-KEPT - 1])
for number, point in enumerate(made[-KEPT:], start=BACKUPS - KEPT):
    print(point.id, number, flush=True)
"""
COLLECTOR = """
import sys
from pathlib import Path
from holdfast.repository import LocalDirectory, open_repository
from tests.support.collections import collect
from tests.support.repositories import PASSPHRASE
repository = open_repository(LocalDirectory.open(Path(sys.argv[1])), PASSPHRASE)
stop = Path(sys.argv[2])
condemned = 0
while not stop.exists():
    condemned += collect(repository).condemned_packs
print(condemned, flush=True)
"""


def content(writer: str, number: int) -> bytes:
    """Half of it every writer's; a sixth is the backup's own, and an other sixth each time."""
    pieces = [bytearray(random.Random(f"{writer}{at}").randbytes(100_000)) for at in range(3)]
    for each in range(number + 1):
        pieces[each % 3][:] = random.Random(f"{writer} {each}").randbytes(100_000)
    return random.Random(number // 5).randbytes(300_000) + b"".join(pieces)


def running(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def require_clean(repository: Repository) -> None:
    """Everything is whole, and one collection later nothing is left to collect."""
    report = check(repository)
    assert report.ok, report.damage
    collect(repository)
    left = plan_of(repository)
    assert (left.dead, dict(left.leftovers)) == ((), {})


def test_backups_deletions_and_two_collectors_at_once(tmp_path: Path) -> None:
    place, stop = tmp_path / "repository", tmp_path / "stop"
    new_repository(LocalDirectory.create(place))
    collectors = [running(COLLECTOR, place, stop) for _ in range(2)]
    writers = {name: running(WRITER, place, name) for name in "ab"}
    told = {name: writer.communicate(timeout=200)[0].split() for name, writer in writers.items()}
    stop.touch()
    condemned = [int(collector.communicate(timeout=100)[0]) for collector in collectors]
    assert {process.returncode for process in (*writers.values(), *collectors)} == {0}
    assert all(condemned), "a collector had nothing to do"
    repository = open_repository(LocalDirectory.open(place), PASSPHRASE)
    points = {point.id: point for point in repository.points()}
    assert sorted(points) == sorted(word for words in told.values() for word in words[::2])
    for name, words in told.items():
        for point, number in zip(words[::2], words[1::2], strict=True):
            assert restored(repository, points[point]) == content(name, int(number))
    require_clean(repository)


def test_killed_collections_lose_nothing_and_the_next_ends_what_they_began(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    repository = new_repository(LocalDirectory.create(site.repository))
    chance = random.Random(SEED)
    known = [(back_up_disks(repository, [whole(content("a", 0))]).point, content("a", 0))]
    number = 0
    struck: Counter[str] = Counter()
    longest = 3.0
    while struck.total() < KILLS:
        while len(known) < 5:
            number += 1
            now, (parent, before) = content("a", number), known[-1]
            known.append((back_up_disks(repository, [changed(now, before)], parent=parent).point, now))
        for _ in range(2):
            purge(repository, known.pop(chance.randrange(len(known) - 1))[0])
        entries, names = len(list((site.repository / "log").iterdir())), packs(site.repository)
        if kill(site, chance.uniform(0.3, longest)):
            condemned = len(list((site.repository / "log").iterdir())) > entries
            struck["deleting" if condemned else "copying" if packs(site.repository) > names else "early"] += 1
        else:
            longest = max(0.6, longest * 0.9)
        stranger = open_repository(LocalDirectory.open(site.repository), PASSPHRASE)
        for point, expected in known:
            assert restored(stranger, point) == expected
        if chance.random() < 0.3:
            require_clean(stranger)
    require_clean(open_repository(LocalDirectory.open(site.repository), PASSPHRASE))


def packs(place: Path) -> int:
    return sum(path.is_file() for path in (place / "packs").rglob("*"))


def kill(site: Site, after_s: float) -> bool:
    """Whether the collection was still at work."""
    with site.start("repository", "collect", "--json", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(after_s)
        was_alive = process.poll() is None
        process.kill()
    return was_alive and process.returncode < 0
