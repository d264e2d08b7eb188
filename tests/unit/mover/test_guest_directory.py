"""What becomes of either side if the other one refuses at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.core.guest import Executed
from holdfast.core.progress import Silence
from holdfast.mover.guest_directory import GuestDirectory


@dataclass
class Refusing:
    """A Guest that has no such directory."""

    name: str = "web"
    asked: list[Sequence[str]] = field(default_factory=list)

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        raise AssertionError(path)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        self.asked.append(command)
        return Executed(status=40, output="")


def test_a_guest_is_asked_for_nothing_if_there_is_no_place_here(tmp_path: Path) -> None:
    guest = Refusing()
    with pytest.raises(HoldfastError, match="missing"):
        GuestDirectory(guest, "/srv", b"etc", tmp_path / "missing" / "files.tar", Silence())
    assert guest.asked == []


def test_nothing_is_left_here_if_the_guest_refuses(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="/srv"):
        GuestDirectory(Refusing(), "/srv", b"etc", tmp_path / "files.tar", Silence())
    assert list(tmp_path.iterdir()) == []
