"""Whether reads that a machine on trial went without are the point's own affair."""

import random
from pathlib import Path

import pytest

from holdfast.bootstrap.serving import ServedForTrial
from holdfast.core.errors import UnreachableError
from holdfast.platforms.nbd.failed_reads import FailedRead, note_failure
from holdfast.repository import MemoryStorage, Repository
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened

CONTENT = random.Random(1).randbytes(200_000)
READ = FailedRead(export="vda", offset=4096, length=8192)


@pytest.fixture
def disks(storage: MemoryStorage, tmp_path: Path) -> ServedForTrial:
    """Of a point that is whole, served to a machine; nothing of it has been read."""
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    return ServedForTrial(_cold(repository), point, tmp_path / "socket", tmp_path)


def _cold(repository: Repository) -> Repository:
    opened = reopened(repository)
    opened.records.load_index()
    return opened


def test_nothing_is_to_be_answered_for_if_every_read_was_served(disks: ServedForTrial) -> None:
    disks.answer_for_reads()


def test_what_can_be_read_now_was_not_the_point_s_fault(disks: ServedForTrial, tmp_path: Path) -> None:
    note_failure(tmp_path, READ)
    with pytest.raises(UnreachableError, match="vda"):
        disks.answer_for_reads()


def test_what_is_damaged_is_the_point_s_own(disks: ServedForTrial, storage: MemoryStorage, tmp_path: Path) -> None:
    note_failure(tmp_path, READ)
    for name in [name for name in storage.objects if name.startswith("packs/")]:
        storage.delete(name)
    disks.answer_for_reads()


def test_a_repository_of_which_all_is_missing_is_out_of_reach(
    disks: ServedForTrial, storage: MemoryStorage, tmp_path: Path
) -> None:
    note_failure(tmp_path, READ)
    storage.objects.clear()
    with pytest.raises(UnreachableError, match="vda"):
        disks.answer_for_reads()
