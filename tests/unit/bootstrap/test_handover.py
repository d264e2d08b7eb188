"""What a server process is handed."""

import os
from pathlib import Path

import pytest

from holdfast.bootstrap import handover
from holdfast.bootstrap.settings import Options, read_repository_settings
from holdfast.bootstrap.wiring import open_storage
from holdfast.core.bandwidth import parse_bandwidth
from holdfast.repository import LocalDirectory
from holdfast.repository.storage.limited import LimitedStorage
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository


def handed(said: str, place: Path) -> handover.Taken:
    """What a server gets from a command that was run with this limit."""
    repository = new_repository(LocalDirectory.create(place / "repository"), SMALL_CUT)
    point = back_up_disks(repository, [whole(b"content")]).point
    options = Options(repository=str(place / "repository"), limit_rate=said, passphrase_command="true")
    settings = read_repository_settings(options, os.environ, ask=None)
    return handover.decode(handover.encode(settings, repository, point, point.disks))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server inherits it."""
    monkeypatch.setenv("HOLDFAST_BANDWIDTH", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_server_keeps_the_whole_limit_of_the_command(tmp_path: Path) -> None:
    said = "20MiB; 08:00-18:00=2MiB; mon-fri 12:00-13:00=500K; sat,sun 22:00-06:00=unlimited"
    storage = handed(said, tmp_path).repository.storage
    assert isinstance(storage, LimitedStorage)
    assert storage._bandwidth == parse_bandwidth(said, "here")


def test_a_server_of_a_command_without_a_limit_has_none_whatever_the_environment_says(tmp_path: Path) -> None:
    assert isinstance(handed("unlimited", tmp_path).repository.storage, LocalDirectory)


def test_the_environments_limit_holds_where_the_command_line_says_none(tmp_path: Path) -> None:
    LocalDirectory.create(tmp_path / "repository")
    options = Options(repository=str(tmp_path / "repository"), passphrase_command="true")
    storage = open_storage(read_repository_settings(options, os.environ, ask=None).storage)
    assert isinstance(storage, LimitedStorage)
    assert storage._bandwidth == parse_bandwidth("1", "here")
