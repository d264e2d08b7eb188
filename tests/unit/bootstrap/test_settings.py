"""Where the repository and its passphrase come from, and which sources are refused."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from holdfast.bootstrap.location import parse_location
from holdfast.bootstrap.new_secret import obtain_new_secret
from holdfast.bootstrap.passphrase import (
    FromCommand,
    FromEnvironment,
    FromFile,
    FromKeyFile,
    FromPerson,
    PassphraseSource,
    obtain_passphrase,
)
from holdfast.bootstrap.settings import (
    LIKE_SECRET,
    NewSecretOptions,
    Options,
    find_connection,
    find_new_secret,
    read_repository_settings,
    read_second_settings,
)
from holdfast.core.errors import DeniedError, FailedError, HoldfastError, NotFoundError, UsageError


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/srv/backup", "/srv/backup"),
        ("/srv/backup/", "/srv/backup"),
        ("file:///srv/backup", "/srv/backup"),
        ("file:/srv/backup", "/srv/backup"),
        ("file://localhost/srv/backup", "/srv/backup"),
        ("file:///srv/with%20space", "/srv/with space"),
        ("/srv/with%20percent", "/srv/with%20percent"),
        ("/srv/a:b", "/srv/a:b"),
        ("/srv/odd#name?", "/srv/odd#name?"),
    ],
)
def test_a_path_and_its_file_url_are_the_same_place(url: str, path: str) -> None:
    assert parse_location(url) == Path(path)


def test_a_relative_path_belongs_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_location("backup") == tmp_path / "backup"


@pytest.mark.parametrize(
    "url",
    ["", "sftp://host/path", "file://otherhost/srv", "file:relative", "file:///a?b", "/a\0b"],
)
def test_other_urls_are_usage_errors(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(url)
    assert caught.value.hint


def source(options: Options, environment: Mapping[str, str]) -> PassphraseSource:
    return read_repository_settings(options, {"HOLDFAST_REPOSITORY": "/r", **environment}, ask=None).passphrase


def test_options_come_before_the_environment() -> None:
    settings = read_repository_settings(
        Options(repository="/from/option", passphrase_file=Path("/option")),
        {"HOLDFAST_REPOSITORY": "/from/environment", "HOLDFAST_PASSPHRASE": "x"},
        ask=None,
    )
    assert settings.storage.location == Path("/from/option")
    assert settings.passphrase == FromFile(path=Path("/option"))


def test_each_variable_is_a_source() -> None:
    assert source(Options(), {"HOLDFAST_PASSPHRASE": "x"}) == FromEnvironment(variable="HOLDFAST_PASSPHRASE", value="x")
    assert source(Options(), {"HOLDFAST_PASSPHRASE_FILE": "/f"}) == FromFile(path=Path("/f"))
    assert source(Options(), {"HOLDFAST_PASSPHRASE_COMMAND": "pass x"}) == FromCommand(command="pass x")
    assert source(Options(), {"HOLDFAST_KEY_FILE": "/k"}) == FromKeyFile(path=Path("/k"))
    assert source(Options(key_file=Path("/k")), {"HOLDFAST_PASSPHRASE": "x"}) == FromKeyFile(path=Path("/k"))


def test_without_a_repository_the_option_and_the_variable_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        read_repository_settings(Options(), {}, ask=None)
    assert "--repository" in caught.value.hint
    assert "HOLDFAST_REPOSITORY" in caught.value.hint


def test_two_sources_of_one_rank_are_refused() -> None:
    with pytest.raises(UsageError, match="two places"):
        source(Options(), {"HOLDFAST_PASSPHRASE": "x", "HOLDFAST_PASSPHRASE_FILE": "/f"})
    with pytest.raises(UsageError, match="two places"):
        source(Options(passphrase_file=Path("/f"), passphrase_command="c"), {})
    with pytest.raises(UsageError, match="--passphrase-file and --key-file"):
        source(Options(passphrase_file=Path("/f"), key_file=Path("/k")), {})


def test_a_person_is_asked_only_if_nothing_else_says() -> None:
    def ask() -> str:
        return "typed"

    asked = read_repository_settings(Options(repository="/r"), {}, ask=ask).passphrase
    assert asked == FromPerson(ask=ask)
    assert obtain_passphrase(asked) == b"typed"
    told = read_repository_settings(Options(repository="/r"), {"HOLDFAST_PASSPHRASE": "x"}, ask=ask).passphrase
    assert told == FromEnvironment(variable="HOLDFAST_PASSPHRASE", value="x")


def test_with_nobody_to_ask_the_hint_names_every_source() -> None:
    with pytest.raises(UsageError) as caught:
        source(Options(), {})
    for word in (
        "--passphrase-file",
        "--passphrase-command",
        "HOLDFAST_PASSPHRASE_FILE",
        "HOLDFAST_PASSPHRASE_COMMAND",
        "--key-file",
        "HOLDFAST_KEY_FILE",
    ):
        assert word in caught.value.hint


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b" a \n\n", b" a \n"),
        (b"\xff\x00\n", b"\xff\x00"),
    ],
)
def test_one_trailing_newline_of_a_file_is_not_part_of_the_passphrase(
    tmp_path: Path, content: bytes, passphrase: bytes
) -> None:
    (tmp_path / "p").write_bytes(content)
    assert obtain_passphrase(FromFile(path=tmp_path / "p")) == passphrase


def test_a_command_gives_what_it_prints_and_no_shell_runs() -> None:
    print_argument = f"{sys.executable} -c 'import sys; print(sys.argv[1])'"
    assert obtain_passphrase(FromCommand(command=f"{print_argument} '$HOME; a b'")) == b"$HOME; a b"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("false", FailedError),
        ("/no/such/program", FailedError),
        ("", UsageError),
        ("'", UsageError),
        ("true", UsageError),
    ],
)
def test_a_command_that_gives_no_passphrase_is_an_error_with_a_hint(command: str, kind: type[HoldfastError]) -> None:
    with pytest.raises(kind) as caught:
        obtain_passphrase(FromCommand(command=command))
    assert caught.value.hint


def test_a_missing_file_an_unreadable_one_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        obtain_passphrase(FromFile(path=tmp_path / "none"))
    with pytest.raises(DeniedError):
        obtain_passphrase(FromFile(path=tmp_path))
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(UsageError, match="is empty"):
        obtain_passphrase(FromFile(path=tmp_path / "empty"))
    with pytest.raises(UsageError, match="is empty"):
        obtain_passphrase(FromEnvironment(variable="X", value=""))


def test_a_key_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 40 + b"\n")
    assert obtain_passphrase(FromKeyFile(path=tmp_path / "key")) == b"k" * 40 + b"\n"


@pytest.mark.parametrize("size", [0, 31, 1024 * 1024 + 1])
def test_what_is_too_short_or_too_long_is_no_key_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "key").write_bytes(bytes(size))
    with pytest.raises(UsageError, match="no key file") as caught:
        obtain_passphrase(FromKeyFile(path=tmp_path / "key"))
    assert caught.value.hint
    with pytest.raises(NotFoundError, match="no key file"):
        obtain_passphrase(FromKeyFile(path=tmp_path / "none"))


def test_a_new_key_file_is_made_of_random_bytes_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = obtain_new_secret(FromKeyFile(path=path))
    assert (made.kind, made.content) == ("key-file", path.read_bytes())
    assert (len(made.content), path.stat().st_mode & 0o777) == (64, 0o600)
    again = obtain_new_secret(FromKeyFile(path=path))
    assert again.content == made.content
    assert again.cost.memory_kib > made.cost.memory_kib, "nobody knows how random a file is that was there"
    assert obtain_new_secret(FromKeyFile(path=tmp_path / "other")).content != made.content


def test_a_key_file_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DeniedError) as caught:
        obtain_new_secret(FromKeyFile(path=tmp_path / "no" / "key"))
    assert caught.value.hint


def test_a_new_secret_has_sources_of_its_own(tmp_path: Path) -> None:
    told = {"HOLDFAST_PASSPHRASE": "old"}
    with pytest.raises(UsageError, match="no passphrase given") as caught:
        find_new_secret(NewSecretOptions(), told, None)
    assert "--new-passphrase-file" in caught.value.hint
    new = find_new_secret(NewSecretOptions(), {**told, "HOLDFAST_NEW_PASSPHRASE": "new"}, None)
    assert obtain_new_secret(new).content == b"new"
    assert find_new_secret(NewSecretOptions(key_file=tmp_path), told, None) == FromKeyFile(path=tmp_path)


def test_the_repository_that_another_is_like_has_its_secret_unless_said_otherwise() -> None:
    new = read_repository_settings(Options(repository="/new"), {"HOLDFAST_PASSPHRASE": "x"}, ask=None)
    like = read_second_settings(new, Options(repository="/old"), {}, LIKE_SECRET)
    assert (like.storage.location, like.passphrase) == (Path("/old"), new.passphrase)
    said = {"HOLDFAST_LIKE_KEY_FILE": "/k"}
    other = read_second_settings(new, Options(repository="/old"), said, LIKE_SECRET)
    assert other.passphrase == FromKeyFile(path=Path("/k"))


def test_no_representation_shows_the_passphrase() -> None:
    settings = read_repository_settings(Options(repository="/r"), {"HOLDFAST_PASSPHRASE": "hunter2"}, ask=None)
    assert "hunter2" not in repr(settings)


def test_a_bad_command_is_named_but_its_output_never(tmp_path: Path) -> None:
    script = tmp_path / "leak"
    script.write_text("#!/bin/sh\necho hunter2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(FailedError) as caught:
        obtain_passphrase(FromCommand(command=str(script)))
    assert "status 3" in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_the_connection_is_an_option_or_a_variable() -> None:
    assert find_connection("qemu:///a", {"HOLDFAST_CONNECT": "qemu:///b"}) == "qemu:///a"
    assert find_connection(None, {"HOLDFAST_CONNECT": "qemu:///b"}) == "qemu:///b"
    with pytest.raises(UsageError, match="no hypervisor"):
        find_connection(None, {})
