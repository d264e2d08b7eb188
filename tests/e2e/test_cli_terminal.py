"""Signals, closed pipes, terminals and prompts: what surrounds a command must not cost a point or leave a mess."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import PASSPHRASE, PROGRAM, Site

MIB = 1 << 20
SIZE = 384 * MIB


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A repository with one point of a small disk, and an image that takes seconds to back up."""
    place = Site(home=tmp_path_factory.mktemp("site"))
    place.create()
    (place.home / "small.raw").write_bytes(random.Random(1).randbytes(MIB))
    place.back_up("small", "small.raw")
    source = random.Random(2)
    with (place.home / "large.raw").open("wb") as file:
        for _ in range(SIZE // (16 * MIB)):
            file.write(source.randbytes(16 * MIB))
    yield place
    (place.home / "large.raw").unlink()


def interrupt(process: "subprocess.Popen[str]", signum: signal.Signals) -> tuple[list[str], str]:
    """Send a signal once the first progress is told; all lines of stdout, and stderr."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if json.loads(line)["type"] == "progress":
            break
    process.send_signal(signum)
    rest, err = process.communicate(timeout=60)
    return [*lines, *rest.splitlines(keepends=True)], err


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_backup_ends_cleanly_and_makes_no_point(site: Site, signum: signal.Signals, status: int) -> None:
    before = site.run("point", "list", "--json").value
    process = site.start("backup", "--name", f"large-{status}", "--image", "large.raw", "--json")
    lines, err = interrupt(process, signum)
    assert process.returncode == status
    assert json.loads(lines[-1]) == {"type": "end", "state": "failed", "exit": status, "results": []}
    assert json.loads(err)["error"]["code"] == "interrupted"
    assert site.run("point", "list", "--json").value == before
    assert site.run("repository", "check").status == 0
    assert site.back_up("small", "small.raw")["sent_bytes"] == 0


def test_an_interrupted_restore_leaves_nothing_that_looks_whole(site: Site, tmp_path: Path) -> None:
    site.back_up("large", "large.raw")
    output = tmp_path / "out.raw"
    process = site.start("restore", "disk", "large@latest", "--disk", "large", "--output", output, "--json")
    lines, _ = interrupt(process, signal.SIGTERM)
    assert process.returncode == 143
    assert json.loads(lines[-1])["exit"] == 143
    assert list(tmp_path.iterdir()) == []


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "arguments", [("point", "list"), ("point", "list", "--json"), ("--help",), ("completion", "bash")]
)
def test_a_reader_that_has_gone_ends_a_listing_quietly(site: Site, arguments: tuple[str, ...]) -> None:
    pipe = closed_pipe()
    process = site.start(*arguments, stdout=pipe)
    os.close(pipe)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("options", [("--json",), ()])
def test_a_reader_that_has_gone_does_not_cost_the_backup(site: Site, options: tuple[str, ...]) -> None:
    before = len(site.run("point", "list", "--json").value)
    pipe = closed_pipe()
    process = site.start("backup", "--name", "small", "--image", "small.raw", *options, stdout=pipe)
    os.close(pipe)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "error" not in err
    assert len(site.run("point", "list", "--json").value) == before + 1


def test_a_log_gets_lines_and_no_control_characters(site: Site) -> None:
    done = site.run("backup", "--name", "small", "--image", "small.raw")
    assert done.err.splitlines()[0] == "small: Backing up small"
    assert (done.out + done.err).replace("\n", "").isprintable()
    assert re.match(r"small: point [0-9a-f]{16}, full, crash-consistent\n", done.out)


def test_a_terminal_gets_a_bar_on_stderr_and_the_result_on_stdout(site: Site) -> None:
    screen, terminal = pty.openpty()
    process = site.start("backup", "--name", "small", "--image", "small.raw", stderr=terminal)
    os.close(terminal)
    drawn = read_terminal(screen)
    os.close(screen)
    result, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "100%" in drawn
    assert "\x1b[" in drawn
    assert "\x1b" not in result
    assert result.startswith("small: point ")


def read_terminal(screen: int, *, until: str | None = None) -> str:
    """What is written to a terminal until a text appears, or until nobody has it open any more."""
    seen = ""
    while until is None or until not in seen:
        try:
            piece = os.read(screen, 65536)
        except OSError:  # Linux says EIO when the last writer has gone
            break
        if not piece:
            break
        seen += piece.decode()
    return seen


def on_a_terminal(site: Site, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run with a controlling terminal and type an answer at each prompt; status and all that was shown."""
    environment = site.variables({"HOLDFAST_PASSPHRASE": None})
    process_id, screen = pty.fork()
    if process_id == 0:
        os.execve(PROGRAM, [str(PROGRAM), *arguments], environment)
    shown = ""
    for prompt, answer in answers:
        shown += read_terminal(screen, until=prompt)
        os.write(screen, answer.encode() + b"\n")
    shown += read_terminal(screen)
    _, status = os.waitpid(process_id, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), shown


def test_a_person_is_asked_for_the_passphrase_and_it_is_not_shown(site: Site) -> None:
    status, shown = on_a_terminal(site, "point", "list", answers=[("Passphrase: ", PASSPHRASE)])
    assert status == 0
    assert "small" in shown
    assert PASSPHRASE not in shown


def test_shares_of_a_recovery_key_are_asked_for_one_after_the_other(site: Site) -> None:
    first, second, third = site.run("repository", "keys", "recovery", "--shares", "3-of-3", "--json").value["shares"]
    status, shown = on_a_terminal(
        site,
        "point",
        "list",
        answers=[
            ("Passphrase: ", first),
            ("Next share, 2 to go: ", second),
            ("Next share, 1 to go: ", f"{third} academic"),
            ("Next share, 1 to go: ", first),
            ("Next share, 1 to go: ", third),
        ],
    )
    assert status == 0, shown
    assert "small" in shown
    assert "share 3 has 34" in shown
    assert "share 3 is the same as share 1; give another one" in shown
    for share in (first, second, third):
        assert share[20:40] not in shown


def test_who_has_not_enough_shares_gives_up_with_an_empty_line(site: Site) -> None:
    first, *_ = site.run("repository", "keys", "recovery", "--shares", "2-of-3", "--json").value["shares"]
    answers = [("Passphrase: ", first), ("Next share, 1 to go: ", "")]
    status, shown = on_a_terminal(site, "point", "list", answers=answers)
    assert status == 5
    assert "1 more share is needed" in shown


def test_a_new_passphrase_is_asked_for_twice_until_both_agree(tmp_path: Path) -> None:
    place = Site(home=tmp_path)
    answers = [("Passphrase: ", "one"), ("Once more: ", "two"), ("Passphrase: ", "one"), ("Once more: ", "one")]
    status, shown = on_a_terminal(place, "repository", "create", answers=answers)
    assert status == 0, shown
    assert place.run("point", "list", HOLDFAST_PASSPHRASE="one").status == 0
    assert place.run("point", "list", HOLDFAST_PASSPHRASE="two").status == 5


def test_giving_up_at_the_prompt_opens_nothing(site: Site) -> None:
    status, shown = on_a_terminal(site, "point", "list", answers=[("Passphrase: ", "\x03")])
    assert status == 130
    assert "Traceback" not in shown


def test_an_empty_passphrase_typed_is_refused(tmp_path: Path) -> None:
    place = Site(home=tmp_path)
    status, shown = on_a_terminal(place, "repository", "create", answers=[("Passphrase: ", ""), ("Once more: ", "")])
    assert status == 2
    assert "is empty" in shown
    assert not place.repository.exists()


def test_an_unexpected_error_shows_its_traceback_only_on_request() -> None:
    script = (
        "import sys; from holdfast.cli.failure import report;"
        "report(ZeroDivisionError('x'), as_json=False, with_traceback=sys.argv[1] == 'yes')"
    )
    told = {
        wish: subprocess.run([sys.executable, "-c", script, wish], capture_output=True, text=True, check=True).stderr
        for wish in ("yes", "no")
    }
    assert told["no"].startswith("error: internal error: ZeroDivisionError: x\n  hint: ")
    assert told["yes"].endswith(told["no"])
    assert len(told["yes"]) > len(told["no"])
