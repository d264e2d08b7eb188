"""The demo proves what it says, and leaves nothing behind however it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def start_demo(result: Path, *, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    command = [*under, sys.executable, "-m", "demo", "--result", str(result)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(demo: subprocess.Popen[str], text: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if text in line:
            return
    pytest.fail(f"the demo never said {text!r}")


def host_of(demo: subprocess.Popen[str]) -> tuple[Path, Path]:
    """The demo's private host: its outermost process in /proc, and its directory of state."""
    children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
    for child in children:
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if words[0] == "unshare":
            return Path("/proc") / child, Path(words[-3])
    pytest.fail("the demo runs no private host")


def read_result(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.mark.guest
def test_both_points_come_back_as_running_machines_that_prove_themselves(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "demo.json")
    _, said = demo.communicate(timeout=280)
    assert demo.returncode == 0, said
    result = read_result(tmp_path / "demo.json")
    assert result["ok"] is True
    assert [backup["capture"] for backup in result["backups"]] == ["full", "incremental"]
    assert [recovery["point"] for recovery in result["recoveries"]] == [each["point"] for each in result["backups"]]
    assert all(recovery["proved"] and recovery["seconds_to_agent"] > 0 for recovery in result["recoveries"])


@pytest.mark.guest
@pytest.mark.parametrize(
    ("moment", "number"),
    [("is up", signal.SIGINT), ("holdfast backup", signal.SIGTERM), ("Restoring", signal.SIGINT)],
)
def test_an_interrupted_demo_leaves_nothing_and_says_so(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    demo = start_demo(tmp_path / "demo.json")
    read_until(demo, moment)
    process, state = host_of(demo)
    assert state.exists()
    time.sleep(0.2)
    demo.send_signal(number)
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert read_result(tmp_path / "demo.json")["error"]["code"] == "interrupted"
    assert not process.exists()
    assert not state.parent.exists()


def test_without_root_it_refuses_and_says_why(tmp_path: Path) -> None:
    # Not root, but allowed to read the tree wherever it lies.
    rights = "+dac_override,+dac_read_search"
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    demo = start_demo(tmp_path / "demo.json", under=nobody)
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 6
    assert "the demo needs root" in said
    error = read_result(tmp_path / "demo.json")["error"]
    assert (error["kind"], error["code"]) == ("refused", "not-root")
    assert error["hint"]
