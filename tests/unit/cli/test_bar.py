"""The bar on a terminal: it is there while bytes are counted, and only then."""

import io
from contextlib import redirect_stderr

import pytest

from holdfast.cli.bar import progress_bar

MIB = 1 << 20


class Terminal(io.StringIO):
    """Keeps what is drawn."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    return Terminal()


def lines(terminal: Terminal, with_text: str) -> list[str]:
    """What was drawn beside a text, each time."""
    return [line for line in terminal.getvalue().splitlines() if with_text in line]


def test_a_phase_without_amounts_has_no_bar(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress_bar("web01") as progress:
        progress.step("Waiting for the guest")
    assert lines(terminal, "Done")
    assert "bytes" not in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_a_bar_goes_with_its_phase_and_the_last_is_full_at_the_end(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress_bar("web01") as progress:
        progress.step("Restoring vda")
        progress.advance(MIB, 4 * MIB)
        progress.step("Waiting for the guest agent")
    assert any("25%" in line and "1.0/4.0 MiB" in line for line in lines(terminal, "Restoring vda"))
    waiting = lines(terminal, "Waiting for the guest agent")
    assert waiting
    assert not any("%" in line or "MiB" in line for line in waiting)
    assert "100%" in lines(terminal, "Done")[-1]
    assert "4.0/4.0 MiB" in lines(terminal, "Done")[-1]
