"""Local repositories on disks without room: of bytes or of names, for a while or for good."""

import os
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.core.errors import FullError
from holdfast.repository import LocalDirectory, require_trustworthy
from tests.support.collections import collect, purge
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import small_disk

MIB = 1024 * 1024
_SIZE = 40 * SMALL_CUT.region_bytes


def taken(repository: Path) -> int:
    """MiB that the ballast takes of the disk."""
    return sum(path.stat().st_blocks for path in (repository / "ballast").iterdir()) * 512 // MIB


def test_of_a_small_disk_it_takes_an_eighth_of_what_is_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as place:
        storage = LocalDirectory.create(place / "repository")
        storage.ballast.fill()
        assert 4 <= taken(storage.path) <= 5


def test_on_a_disk_that_stays_full_a_collection_warns_that_it_has_none(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 80) as place:
        repository = new_repository(LocalDirectory.create(place / "repository"), cut=SMALL_CUT)
        fill_up(place / "of somebody else")
        while repository.storage.ballast and repository.storage.ballast.drop():
            fill_up(place / "of somebody else")
        with pytest.raises(FullError):
            repository.storage.ballast.fill()
        assert not list((place / "repository/ballast").iterdir())
        warnings = collect(repository).warnings
        assert "may lack the room" in "".join(warnings)


def test_where_the_inodes_are_used_up_points_go_and_are_collected(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200) as place:
        storage = LocalDirectory.create(place / "repository")
        repository = new_repository(storage, cut=SMALL_CUT)
        point = back_up_disks(repository, [whole(random.Random(1).randbytes(_SIZE))]).point
        kept = back_up_disks(repository, [whole(random.Random(2).randbytes(_SIZE))]).point
        subprocess.run(["mount", "-o", "remount,nr_inodes=400", place], check=True)
        with suppress(OSError):
            for number in range(1000):
                (place / f"of somebody else {number}").touch()
        assert os.statvfs(place).f_ffree == 0
        purge(reopened(repository), point)
        require_trustworthy(storage)
        collect(repository)
        assert not list((place / "repository/probe").iterdir())
        assert restored(repository, kept) == random.Random(2).randbytes(_SIZE)
        assert check(repository).ok


def fill_up(path: Path) -> None:
    """Every byte that is free."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(MIB)):
            pass


def test_packs_that_are_partly_needed_are_rewritten_on_a_disk_without_a_free_byte(tmp_path: Path) -> None:
    """With the help of the ballast, a pack at a time: what one copy frees is room for the next."""
    source = random.Random(7)
    content = bytearray(source.randbytes(48 * MIB))
    with small_disk(tmp_path / "disk", 400) as place:
        repository = new_repository(LocalDirectory.create(place / "repository"))
        points = []
        for _ in range(3):
            points.append(back_up_disks(repository, [whole(bytes(content))]).point)
            for block in source.sample(range(48 * 16), 24 * 16):
                content[block * 65536 : (block + 1) * 65536] = source.randbytes(65536)
        last = restored(repository, points[-1])
        fill_up(place / "of somebody else")
        purge(reopened(repository), points[0], points[1])
        fill_up(place / "of somebody else")
        report = collect(repository)
        assert not report.warnings
        assert report.freed_bytes > 40 * MIB
        assert taken(place / "repository") >= 4
        assert restored(reopened(repository), points[-1]) == last
        assert check(repository).ok
