"""Workspaces go with their process, and only those of dead processes are swept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import NotFoundError
from holdfast.platforms.workspace import Workspace, is_abandoned

HOLDER = """
import sys
from pathlib import Path
from holdfast.platforms.workspace import Workspace
space = Workspace(Path(sys.argv[1]))
print(space.path, flush=True)
sys.stdin.read()
"""


def held_by_another_process(base: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, base], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str], number: int) -> None:
    os.kill(process.pid, number)
    process.communicate()


def test_it_is_gone_after_its_context(tmp_path: Path) -> None:
    with Workspace(tmp_path) as workspace:
        (workspace.path / "file").write_text("x")
        assert workspace.path.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_one_that_the_next_workspace_sweeps_out(tmp_path: Path) -> None:
    process, left = held_by_another_process(tmp_path)
    assert not is_abandoned(left)
    with Workspace(tmp_path):
        assert left.exists()
    end(process, signal.SIGKILL)
    assert is_abandoned(left)
    with Workspace(tmp_path) as workspace:
        assert list(tmp_path.iterdir()) == [workspace.path]


def test_one_that_another_host_holds_is_never_judged_dead(tmp_path: Path) -> None:
    elsewhere = tmp_path / "holdfast-0123456789ab"
    elsewhere.mkdir()
    (elsewhere / "lock").write_text("another-host")
    assert not is_abandoned(elsewhere)
    with Workspace(tmp_path):
        assert elsewhere.exists()


def test_directories_that_only_look_alike_are_left_alone(tmp_path: Path) -> None:
    names = ["holdfast-notes", "holdfast-0123456789abc", "holdfast-0123456789ag"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text(os.uname().nodename)
    (tmp_path / "holdfast-aaaaaaaaaaaa").mkdir()  # the name is right, but nothing says whose it is
    with Workspace(tmp_path):
        assert all((tmp_path / name / "lock").exists() for name in names)
        assert (tmp_path / "holdfast-aaaaaaaaaaaa").exists()


def test_a_workspace_that_is_gone_is_nobodys(tmp_path: Path) -> None:
    assert is_abandoned(tmp_path / "holdfast-0123456789ab")
    assert not is_abandoned(tmp_path / "something-else")


def test_a_missing_base_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        Workspace(tmp_path / "nowhere")


@pytest.mark.parametrize("trap", ["fifo", "link", "hard link", "directory", "linked workspace", "another user's"])
def test_a_trap_that_looks_like_a_workspace_neither_hangs_nor_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "lock").write_text(os.uname().nodename)
    left = tmp_path / "base" / "holdfast-0123456789ab"
    left.parent.mkdir()
    if trap == "linked workspace":
        left.symlink_to(bait)
    else:
        left.mkdir()
    match trap:
        case "fifo":
            os.mkfifo(left / "lock")
        case "link":
            (left / "lock").symlink_to(bait / "lock")
        case "hard link":
            (left / "lock").hardlink_to(bait / "lock")
        case "directory":
            (left / "lock").mkdir()
        case "another user's":
            (left / "lock").write_text(os.uname().nodename)
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        case _:
            pass
    assert not is_abandoned(left)
    with Workspace(left.parent):
        assert left.exists()
        assert (bait / "lock").exists()
