"""The tree of commands: help, completion, what is accepted where, and that asking for help costs nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click
import pytest

from holdfast.cli.common import Command
from holdfast.cli.lazy import Stub
from holdfast.cli.main import root, run
from holdfast.cli.stream import StreamCommand

DOCS = Path(__file__).parents[3] / "docs"


def commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands((*path, name), child.load() if isinstance(child, Stub) else child)


ALL = dict(commands((), root))
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def test_the_commands_of_the_contract_are_there() -> None:
    assert set(LEAVES) == {
        *(("repository", "keys", verb) for verb in ("list", "add", "change", "remove", "rotate", "recovery")),
        ("repository", "create"), ("repository", "info"), ("repository", "check"), ("repository", "rebuild"),
        ("repository", "purge"), ("retention", "apply"),
        ("point", "delete"), ("point", "undelete"), ("point", "pin"), ("point", "hold"), ("point", "lock"),
        ("point", "diff"), ("point", "verify"),
        ("repository", "collect"), ("repository", "unhide"),
        ("machine", "list"), ("machine", "export"), ("backup",), ("point", "list"), ("point", "show"),
        ("restore", "disk"), ("restore", "machine"), ("copy", "run"), ("copy", "status"), ("doctor",), ("completion",),
        ("mount", "create"), ("mount", "list"), ("mount", "remove"), ("mount", "finalize"), ("mount", "resume"),
        ("restore", "boot"),
        ("file", "diff"), ("file", "ls"), ("file", "cat"), ("file", "find"), ("file", "get"), ("file", "volumes"),
    }  # fmt: skip


def test_what_streams_says_so_even_if_it_cannot_be_parsed() -> None:
    streaming = {path for path, command in LEAVES.items() if isinstance(command, StreamCommand)}
    assert streaming == {
        ("backup",), ("point", "verify"), ("repository", "check"), ("repository", "rebuild"), ("repository", "collect"),
        ("restore", "disk"), ("restore", "machine"), ("restore", "boot"), ("mount", "finalize"), ("copy", "run"),
        ("file", "get"), ("machine", "export"),
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself_with_examples_and_the_common_options(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--repository", "--passphrase-file", "--passphrase-command", "--key-file", "--json", "--help"):
        assert option in text
    if path in LEAVES:
        assert f"Examples:\n  holdfast {' '.join(path)}" in text


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_example_is_a_command_line_that_can_be_parsed(path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    assert isinstance(command, Command)
    for example in command.examples:
        arguments = example.partition(" >")[0].split()[1 + len(path) :]
        command.make_context("test", arguments)


def test_the_list_of_commands_says_what_the_commands_say_of_themselves() -> None:
    for stub in root.commands.values():
        assert isinstance(stub, Stub)
        assert stub.get_short_help_str(100) == stub.load().get_short_help_str(100)


def test_no_short_help_is_cut_off_on_a_narrow_terminal() -> None:
    for path, command in ALL.items():
        assert len(command.get_short_help_str(1000)) <= 60, path


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_help_and_version_import_no_library_of_the_data_path(arguments: list[str]) -> None:
    script = (
        "import sys; from holdfast.cli.main import run; run(sys.argv[1:]);"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(output.rpartition("LOADED")[2].split())
    assert "click" in loaded
    assert not loaded & {"numpy", "cryptography", "blake3", "zstandard", "msgspec", "libvirt", "nbd", "rich"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_common_options_are_accepted_before_and_after_each_word(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["repository", "info"]
    arguments[place:place] = ["--json", "--repository", "/no/such/place", "--passphrase-command", "echo x"]
    assert run(arguments) == 4
    assert json.loads(capsys.readouterr().err)["error"]["kind"] == "notfound"


def test_an_option_after_the_verb_replaces_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    places = ["ftp://x", "ftp://y", "ftp://z"]
    assert (
        run(["--repository", places[0], "repository", "--repository", places[1], "info", "--repository", places[2]])
        == 2
    )
    assert "ftp://z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["bakup"], "backup"),
        (["point", "lst"], "list"),
        (["doctor", "--jsn"], "--json"),
        (["backup", "--imag", "x"], "--image"),
    ],
)
def test_a_mistyped_word_is_a_usage_error_that_offers_the_right_one(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"'{meant}'" in captured.err
    assert captured.err.startswith("error: ")
    assert "  hint: holdfast " in captured.err


def test_without_a_command_help_goes_to_stderr_and_the_status_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: holdfast")


@pytest.mark.parametrize(
    "arguments",
    [
        ["backup", "--json", "--no-such-option"],
        ["--json", "backup", "--no-such-option"],
        ["backup", "--json"],
        ["backup", "--json", "--name", "x"],
        ["backup", "--json", "--name", "x", "--image", "a.raw", "machine"],
        ["backup", "--json", "--name", "x", "--image", "a.raw", "--no-quiesce"],
        ["backup", "--json", "--name", "x", "--image", "a.raw", "--connect", "test:///default"],
        ["backup", "--json", "machine", "--connect", "u", "--no-quiesce", "--require-quiesce"],
        ["restore", "--json", "disk", "web@latest", "--disk", "vda"],
        ["restore", "disk", "web", "--disk", "vda", "--output", "x", "--json"],
        ["restore", "machine", "web@latest", "--name", "x", "--network", "y", "--json", "--connect", "u"],
        ["repository", "check", "surplus", "--json"],
    ],
)
def test_a_stream_that_cannot_begin_ends_in_json_all_the_same(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOLDFAST_CONNECT", raising=False)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"type": "end", "state": "failed", "exit": 2, "results": []}
    told = json.loads(captured.err)
    assert told["exit"] == 2
    assert told["error"]["kind"] == "usage"
    assert told["error"]["hint"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_names_the_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_HOLDFAST_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rep"], "repository"),
        (["restore", ""], "machine"),
        (["restore", "disk", "--out"], "--output"),
        (["completion", "f"], "fish"),
    ],
)
def test_the_program_completes_words(words: list[str], expected: str) -> None:
    environment = {
        **os.environ,
        "_HOLDFAST_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["holdfast", *words]),
        "COMP_CWORD": str(len(words)),
    }
    script = "from holdfast.cli.main import main; main()"
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert expected in [line.partition(",")[2] for line in answer.stdout.splitlines()]


def test_the_page_of_commands_is_what_the_program_says() -> None:
    specification = spec_from_file_location("generate_commands", DOCS / "generate_commands.py")
    assert specification is not None
    assert specification.loader is not None
    generator = module_from_spec(specification)
    specification.loader.exec_module(generator)
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == generator.reference(), (
        "run .venv/bin/python docs/generate_commands.py"
    )
