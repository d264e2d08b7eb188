"""A machine's turn is one holder's, and nobody else's to withhold."""

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from holdfast.core.errors import ConflictError, FailedError
from holdfast.platforms.libvirt import turn
from holdfast.platforms.libvirt.turn import sole_turn

HOLDER = """
import sys
from pathlib import Path
from holdfast.platforms.libvirt import turn
turn._directory = lambda: Path(sys.argv[1])
with turn.sole_turn("m", sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(turn, "_directory", lambda: tmp_path / "turns")
    return tmp_path / "turns"


def test_a_turn_is_another_processs_until_it_dies(place: Path) -> None:
    identity = str(uuid.uuid4())
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place, identity], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(ConflictError, match="another backup of m "), sole_turn("m", identity):
        pass
    with sole_turn("other", str(uuid.uuid4())):
        pass
    holder.kill()
    holder.communicate()
    with sole_turn("m", identity):
        assert place.stat().st_mode & 0o777 == 0o700


def test_a_turn_cannot_be_withheld_by_a_name_that_anybody_may_bind(place: Path) -> None:
    identity = str(uuid.uuid4())
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"\0holdfast/capture/{identity}")
        with sole_turn("m", identity):
            assert (place / identity).exists()


@pytest.mark.parametrize("trap", ["writable", "another user's", "link"])
def test_a_place_where_others_can_write_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, trap: str) -> None:
    real = place.with_name("elsewhere") if trap == "link" else place
    real.mkdir(mode=0o700)
    match trap:
        case "writable":
            real.chmod(0o777)
        case "another user's":
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        case "link":
            place.symlink_to(real)
        case _:
            pass
    with pytest.raises(FailedError, match="cannot take the turn to capture m"), sole_turn("m", str(uuid.uuid4())):
        pass
    assert list(real.iterdir()) == []
