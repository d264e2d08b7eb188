"""The room that a storage keeps for what makes room: who lets it go, who takes it again, and what it costs others."""

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from holdfast.core.errors import FullError
from holdfast.core.point import RestorePoint
from holdfast.repository import LocalDirectory, Repository, require_trustworthy
from holdfast.repository.decisions import Forget, Hold, Undelete, Verified
from holdfast.repository.storage.ballast import with_ballast
from holdfast.repository.storage.port import StorageError
from tests.support.collections import collect, forget, purge
from tests.support.decisions import decide
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import SmallDisk

MIB = 1024 * 1024
_SIZE = 40 * SMALL_CUT.region_bytes
_PART = 16_384


class BallastedDisk(SmallDisk):
    """A disk with a ballast of four parts, which take room as objects do."""

    def __init__(self) -> None:
        super().__init__()
        self.room = _Room(self)
        self.ballast = self.room

    @property
    def used_bytes(self) -> int:
        return super().used_bytes + self.room.parts * _PART

    def fill_up(self) -> None:
        """Not a byte is free."""
        self.capacity = self.used_bytes


class _Room:
    def __init__(self, disk: SmallDisk) -> None:
        self._disk = disk
        self.parts = 0

    def fill(self) -> None:
        if self._disk.used_bytes + (4 - self.parts) * _PART > self._disk.capacity:
            raise FullError("no space left for the ballast")
        self.parts = 4

    def drop(self, keep: int = 0) -> bool:
        there = self.parts * _PART > keep
        self.parts -= there
        return there


def two_points(disk: BallastedDisk) -> tuple[Repository, list[tuple[RestorePoint, bytes]]]:
    repository = new_repository(disk, cut=SMALL_CUT)
    contents = [random.Random(seed).randbytes(_SIZE) for seed in (1, 2)]
    return repository, [(back_up_disks(repository, [whole(content)]).point, content) for content in contents]


def test_a_repository_on_a_disk_without_a_free_byte_is_collected_and_has_its_ballast_again() -> None:
    disk = BallastedDisk()
    repository, [(first, _), (second, content)] = two_points(disk)
    assert disk.room.parts == 4
    disk.fill_up()
    with pytest.raises(FullError):
        back_up_disks(repository, [whole(b"holdfast" * 10_000)])
    assert disk.room.parts == 4, "a backup took it"
    purge(reopened(repository), first)
    assert disk.room.parts < 4
    require_trustworthy(disk)
    report = collect(repository)
    assert not report.warnings
    assert report.freed_bytes > _SIZE / 2
    assert disk.room.parts == 4
    assert restored(repository, second) == content
    assert check(repository).ok


def test_what_people_decide_may_use_it_and_what_backups_and_trials_put_may_not() -> None:
    disk = BallastedDisk()
    repository, [(first, _), _] = two_points(disk)
    disk.fill_up()
    with pytest.raises(FullError):
        decide(repository.log, Verified(point=first.id, checks=[]))
    assert disk.room.parts == 4
    for left, decision in enumerate((Undelete, Hold, Forget), 1):
        more = {"hold": "audit"} if decision is Hold else {}
        decide(repository.log, decision(points=[first.id], **more))
        assert disk.room.parts == 4 - left
        disk.fill_up()


def test_the_storage_is_tried_with_the_help_of_the_ballast_and_no_more_of_it_than_needed() -> None:
    disk = BallastedDisk()
    two_points(disk)
    disk.fill_up()
    require_trustworthy(disk)
    assert disk.room.parts == 3


def test_without_any_ballast_left_a_full_disk_says_so() -> None:
    disk = BallastedDisk()
    repository, [(first, _), _] = two_points(disk)
    disk.room.parts = 0
    disk.fill_up()
    with pytest.raises(FullError):
        forget(repository, first)


def test_a_collection_that_cannot_take_it_again_warns() -> None:
    disk = BallastedDisk()
    repository, _ = two_points(disk)
    disk.room.parts = 1
    disk.fill_up()
    report = collect(repository)
    assert "may lack the room" in "".join(report.warnings)


# --- files ------------------------------------------------------------------------------------------------------------


def taken(repository: Path) -> int:
    """MiB that the ballast takes of the disk."""
    return sum(path.lstat().st_blocks for path in (repository / "ballast").iterdir()) * 512 // MIB


@pytest.fixture
def directory(tmp_path: Path) -> LocalDirectory:
    return LocalDirectory.create(tmp_path / "repository")


def test_a_directory_keeps_64_mib_and_lets_them_go_in_parts(directory: LocalDirectory) -> None:
    for _ in range(2):
        directory.ballast.fill()
        assert taken(directory.path) == 64
        left = []
        while directory.ballast.drop():
            left.append(taken(directory.path))
        assert left == list(range(60, -4, -4))
    assert not list((directory.path / "ballast").iterdir())


def test_what_is_missing_is_taken_again_and_the_rest_is_left_alone(directory: LocalDirectory) -> None:
    directory.ballast.fill()
    before = {path.name: path.stat().st_ino for path in (directory.path / "ballast").iterdir()}
    directory.ballast.drop()
    kept = {path.name for path in (directory.path / "ballast").iterdir()}
    directory.ballast.fill()
    after = {path.name: path.stat().st_ino for path in (directory.path / "ballast").iterdir()}
    assert len(kept) == len(before) - 1
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert taken(directory.path) == 64


def test_a_copy_does_not_carry_it_and_takes_its_own(directory: LocalDirectory, tmp_path: Path) -> None:
    directory.ballast.fill()
    shutil.copytree(directory.path, tmp_path / "copy")
    copy = LocalDirectory.open(tmp_path / "copy")
    assert taken(copy.path) == 0
    assert not copy.ballast.drop(), "it has let go of nothing"
    copy.ballast.fill()
    assert taken(copy.path) == 64


def test_where_nothing_can_be_reserved_it_is_noise(directory: LocalDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.storage.directory_ballast.reserve", lambda _file, _size: None)
    for _ in range(2):
        directory.ballast.fill()
        assert taken(directory.path) == 64
    part = next((directory.path / "ballast").iterdir()).read_bytes()
    assert len(part) == 4 * MIB
    assert len(set(part[:4096])) > 100


def test_a_part_that_finds_no_room_leaves_none_taken(
    directory: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over_quota(file: int, _size: int) -> None:
        os.pwrite(file, bytes(MIB), 0)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("holdfast.repository.storage.directory_ballast.reserve", over_quota)
    with pytest.raises(FullError):
        directory.ballast.fill()
    assert not list((directory.path / "ballast").iterdir())


def test_it_is_no_object(directory: LocalDirectory) -> None:
    repository = new_repository(directory)
    assert taken(directory.path) == 64
    assert not any(stored.name.startswith("ballast") for stored in directory.list(""))
    assert repository.info().stored_bytes < MIB
    assert check(repository).ok


# --- what somebody has planted ----------------------------------------------------------------------------------------


def test_links_in_its_place_are_not_followed(directory: LocalDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"dear to somebody")
    folder = directory.path / "ballast"
    folder.mkdir()
    (folder / "0").symlink_to(victim)
    (folder / "1").hardlink_to(victim)
    os.mkfifo(folder / "2")
    before = victim.stat().st_blocks
    directory.ballast.fill()
    while directory.ballast.drop():
        pass
    assert victim.read_bytes() == b"dear to somebody"
    assert victim.stat().st_blocks == before


def test_a_directory_elsewhere_is_left_alone(directory: LocalDirectory, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0").write_bytes(b"dear to somebody")
    (directory.path / "ballast").symlink_to(elsewhere)
    with pytest.raises(StorageError, match="no directory of this repository's"):
        directory.ballast.fill()
    assert not directory.ballast.drop()
    assert [path.name for path in elsewhere.iterdir()] == ["0"]


def test_what_cannot_be_let_go_of_hides_no_full_disk(directory: LocalDirectory) -> None:
    for name in range(16):
        (directory.path / "ballast" / str(name)).mkdir(parents=True)

    def put() -> None:
        raise FullError("no space left for log/7")

    with pytest.raises(FullError, match="log/7"):
        with_ballast(directory, put)
    repository = new_repository(directory)
    assert "may lack the room" in "".join(collect(repository).warnings)
