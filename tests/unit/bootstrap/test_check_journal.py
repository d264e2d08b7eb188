"""What is remembered of checks belongs to one storage: a clone of a repository has its id, and rots by itself."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.bootstrap.location import parse_location
from holdfast.bootstrap.settings import StorageSettings
from holdfast.bootstrap.wiring import check_journal
from holdfast.core.access import S3Settings
from holdfast.core.progress import Silence
from holdfast.repository import CheckReport, CheckScope, LocalDirectory, open_repository
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository

RESUMED = CheckScope(level="full", resume=True)
PACK = "ab" * 32


class PressedCtrlCError(Exception):
    """Somebody pressed Ctrl-C."""


class Impatient(Silence):
    """Interrupts after the last pack."""

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        if done_bytes == total_bytes:
            raise PressedCtrlCError


@pytest.fixture
def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(location=tmp_path / "original", cache=tmp_path / "cache")


def remembers(one: StorageSettings, other: StorageSettings) -> bool:
    """Whether a proof in one storage counts for the other."""
    check_journal(one, "id", RESUMED).note(PACK, 7)
    return bool(check_journal(other, "id", RESUMED).proved_at(PACK))


def checked(settings: StorageSettings, progress: Silence) -> CheckReport:
    assert isinstance(settings.location, Path)
    repository = open_repository(LocalDirectory.open(settings.location), PASSPHRASE)
    return repository.check(progress, RESUMED, check_journal(settings, repository.id, RESUMED))


def test_what_was_proved_of_the_original_is_not_proved_of_its_clone(tmp_path: Path, settings: StorageSettings) -> None:
    repository = new_repository(LocalDirectory.create(tmp_path / "original"), SMALL_CUT)
    back_up_disks(repository, [whole(bytes(range(256)) * 4000)])
    clone = replace(settings, location=shutil.copytree(tmp_path / "original", tmp_path / "clone"))
    with pytest.raises(PressedCtrlCError):
        checked(settings, Impatient())
    assert checked(clone, Silence()).packs_resumed == 0
    assert checked(settings, Silence()).packs_resumed > 0


def test_a_directory_is_the_same_by_whatever_path(tmp_path: Path, settings: StorageSettings) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "original")
    assert remembers(settings, replace(settings, location=link))
    link.unlink()
    link.symlink_to(tmp_path / "clone")
    assert not remembers(settings, replace(settings, location=link))


def test_buckets_of_one_name_are_told_apart_by_their_endpoints(settings: StorageSettings) -> None:
    here, there = (
        replace(settings, location=parse_location("s3://backup/prefix"), s3=S3Settings(region="", endpoint=endpoint))
        for endpoint in ("https://here.example", "https://there.example")
    )
    assert remembers(here, here)
    assert not remembers(here, there)
