"""One process of the soak: `python -m tests.soak.worker HOME ROLE SEED`. Works until it is killed.

It prints a line before each piece of work, `doing ROLE`, and after it what it was told: `point ID`, or `copied ID` for
a point that is in the second repository now.
"""

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from holdfast.core.errors import HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.copy import copy_planned, plan_copy
from holdfast.jobs.recover import recover_disk
from holdfast.mover import Care
from holdfast.repository import LocalDirectory, Repository, open_repository
from holdfast.repository.decisions import Forget, Purge, Undelete
from tests.soak.shadow import FIRST, SECOND, content
from tests.support.decisions import decide
from tests.support.disks import ModelTarget, changed, whole
from tests.support.repositories import ALL_VERIFIED, PASSPHRASE, back_up_disks

_KEPT = 12
_YEAR = timedelta(days=365)


class Worker:
    """What a role does, once."""

    def __init__(self, home: Path, seed: str) -> None:
        self._home = home
        self._seed = seed
        self._chance = random.Random(seed)
        self._count = 0

    def open(self, name: str = FIRST) -> Repository:
        """A repository as somebody sees it whose clock may be wrong by a year; its cache may be shared."""
        cache = self._home / "cache" / name if self._chance.random() < 0.7 else None
        repository = open_repository(LocalDirectory.open(self._home / name), PASSPHRASE, cache)
        jump = self._chance.choice([-_YEAR, timedelta(), timedelta(), _YEAR])
        repository.log.clock = lambda: datetime.now(UTC) + jump
        if jump:
            print("clock", "forward" if jump > timedelta() else "back", flush=True)
        return repository

    def heal(self) -> None:
        """A backup that believes nothing."""
        self.write(Care(heal=True))

    def write(self, care: Care = ALL_VERIFIED) -> None:
        """A backup, half of the time of what has changed since another point."""
        repository = self.open()
        self._count += 1
        machine = f"{self._seed}.{self._count}"
        now, parent = content(machine), self._some_point(repository)
        if parent and self._chance.random() < 0.5:
            disk = changed(now, content(parent.machine))
        else:
            disk, parent = whole(now), None
        outcome = back_up_disks(repository, [disk], parent=parent, machine=machine, care=care)
        print("point", outcome.point.id, flush=True)

    def forget(self) -> None:
        """Some points to the trash when there are many; some of the trash is purged, some comes back."""
        repository = self.open()
        points, trash = [each.id for each in repository.points()], [each.id for each in repository.trash()]
        if len(points) > _KEPT:
            decide(repository.log, Forget(points=self._chance.sample(points, 3)))
        if trash:
            chosen = self._chance.sample(trash, min(2, len(trash)))
            decide(repository.log, (Purge if self._chance.random() < 0.8 else Undelete)(points=chosen))

    def collect(self) -> None:
        """A collection, of either repository."""
        self.open(self._chance.choice([FIRST, FIRST, SECOND])).collector(Silence()).run()

    def copy(self) -> None:
        """A copy of some points; such as are purged meanwhile need not arrive."""
        source, target = self.open(), self.open(SECOND)
        points = source.points()
        plan = plan_copy(source, target, self._chance.sample(points, min(3, len(points))))
        for planned in plan.points:
            with self._unless_purged(source, planned.point):
                copied = copy_planned(
                    source, target, planned, method=plan.method, care=ALL_VERIFIED, progress=Silence()
                )
                if copied:
                    print("copied", copied.point, flush=True)

    def read(self) -> None:
        """A restore of any point, held against a purge unless a clock is wrong."""
        repository = self.open()
        if point := self._some_point(repository):
            (disk,) = point.disks
            target = ModelTarget(disk.size_bytes)
            with self._unless_purged(repository, point):
                recover_disk(repository, point, disk, target, progress=Silence())
                assert bytes(target.content) == content(point.machine), f"wrong bytes of {point.machine}"

    @contextmanager
    def _unless_purged(self, repository: Repository, point: RestorePoint) -> Iterator[None]:
        """Whatever fails within is forgiven if the point has been purged by now."""
        try:
            yield
        except HoldfastError:
            if point.id not in repository.state().purged:
                raise

    def _some_point(self, repository: Repository) -> RestorePoint | None:
        points = repository.points()
        return self._chance.choice(points) if points else None


def main() -> None:
    home, role, seed = sys.argv[1:]
    worker = Worker(Path(home), seed)
    while True:
        print("doing", role, flush=True)
        try:
            getattr(worker, role)()
        except HoldfastError as error:
            print("error", type(error).__name__, error.code, error.message, flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
