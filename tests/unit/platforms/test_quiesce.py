"""The thaw: exactly one, at the deadline at the latest, and never given up silently."""

import threading
import time

import pytest

from holdfast.core.progress import Silence
from holdfast.platforms.libvirt.agent import AgentRefusedError, AgentSilentError, GuestAgent, GuestGoneError
from holdfast.platforms.libvirt.quiesce import Quiesce


class Heard(Silence):
    """Progress that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class GuestInMemory(GuestAgent):
    """A guest whose agent can be late, silent, or dead. Time-outs are kept, as libvirt keeps them."""

    def __init__(self, *, silent_freezes: int = 0, silent_thaws: int = 0, dies: bool = False) -> None:
        self.frozen = False
        self.thaws: list[float] = []
        self.thawed = threading.Event()
        self._silent_freezes = silent_freezes
        self._silent_thaws = silent_thaws
        self._dies = dies
        self._turn = threading.Lock()

    def freeze(self, timeout_s: float) -> int:
        with self._turn:
            self.frozen = True
            if self._silent_freezes:
                self._silent_freezes -= 1
                time.sleep(timeout_s)
                raise AgentSilentError("no answer")
            return 1

    def thaw(self, timeout_s: float) -> int:
        with self._turn:
            if self._dies:
                raise GuestGoneError("gone")
            if self._silent_thaws:
                self._silent_thaws -= 1
                raise AgentSilentError("no answer")
            self.thaws.append(time.monotonic())
            was, self.frozen = self.frozen, False
            self.thawed.set()
            return int(was)

    def is_frozen(self, timeout_s: float) -> bool:
        return self.frozen


class ForgetfulGuest(GuestInMemory):
    """Windows: it thaws by itself after 10 s, and says so when it is asked to."""

    def thaw(self, timeout_s: float) -> int:
        if self.frozen:
            self.frozen = False
            raise AgentRefusedError("couldn't hold writes: fsfreeze is limited up to 10 seconds")
        return super().thaw(timeout_s)


class RefusingGuest(GuestInMemory):
    def freeze(self, timeout_s: float) -> int:
        raise AgentRefusedError("not today")


def test_a_freeze_that_holds_is_told_with_its_length() -> None:
    guest, heard = GuestInMemory(), Heard()
    with Quiesce(guest, "m", 5, heard) as quiesce:
        assert quiesce.freeze() == 1
        time.sleep(0.05)
        frozen = quiesce.thaw()
    assert frozen.held
    assert frozen.freeze_ms is not None
    assert 50 <= frozen.freeze_ms < 2000
    assert len(guest.thaws) == 1
    assert heard.warnings == []


def test_the_deadline_thaws_whatever_the_capture_hangs_in() -> None:
    guest = GuestInMemory()
    start = time.monotonic()
    with Quiesce(guest, "m", 1, Heard()) as quiesce:
        quiesce.freeze()
        assert guest.thawed.wait(30), "nobody thawed it while the capture hung"
        frozen = quiesce.thaw()
    assert not frozen.held
    assert "deadline" in frozen.trouble
    assert len(guest.thaws) == 1
    assert 1 <= guest.thaws[0] - start < 2


def test_a_guest_that_thawed_by_itself_was_not_held() -> None:
    guest = GuestInMemory()
    with Quiesce(guest, "m", 5, Heard()) as quiesce:
        quiesce.freeze()
        guest.frozen = False
        frozen = quiesce.thaw()
    assert not frozen.held
    assert "by itself" in frozen.trouble


def test_a_freeze_without_an_answer_is_undone_when_the_guest_comes_back() -> None:
    guest, heard = GuestInMemory(silent_freezes=1, silent_thaws=2), Heard()
    with Quiesce(guest, "m", 0.1, heard) as quiesce, pytest.raises(AgentSilentError):
        quiesce.freeze()
    assert not guest.frozen
    assert "asking on" in heard.warnings[0]
    assert "is thawed" in heard.warnings[-1]


def test_a_thaw_without_an_answer_is_asked_for_again_and_the_instant_still_counts() -> None:
    guest, heard = GuestInMemory(silent_thaws=2), Heard()
    with Quiesce(guest, "m", 5, heard) as quiesce:
        quiesce.freeze()
        frozen = quiesce.thaw()
        assert frozen.held
        assert "failed" in frozen.trouble
    assert not guest.frozen
    assert len(heard.warnings) == 2


def test_an_error_between_freeze_and_thaw_leaves_no_frozen_guest() -> None:
    guest = GuestInMemory()

    def interrupted() -> None:
        with Quiesce(guest, "m", 5, Heard()) as quiesce:
            quiesce.freeze()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not guest.frozen


def test_a_refused_freeze_needs_no_thaw() -> None:
    guest = RefusingGuest()
    with Quiesce(guest, "m", 0.1, Heard()) as quiesce:
        with pytest.raises(AgentRefusedError):
            quiesce.freeze()
        time.sleep(0.3)
    assert guest.thaws == []


def test_a_guest_that_is_gone_is_not_waited_for() -> None:
    start = time.monotonic()
    with Quiesce(GuestInMemory(dies=True), "m", 5, Heard()) as quiesce:
        quiesce.freeze()
        assert not quiesce.thaw().held
    assert time.monotonic() - start < 3


def test_a_guest_that_never_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.platforms.libvirt.quiesce._LAST_WAIT_S", 0.3)
    guest, heard = GuestInMemory(silent_thaws=1000), Heard()
    with Quiesce(guest, "m", 5, heard) as quiesce:
        quiesce.freeze()
        quiesce.thaw()
    assert guest.frozen
    assert "may still be frozen" in heard.warnings[-1]
    assert "virsh domfsthaw m" in heard.warnings[-1]


class InterruptedOnce(GuestInMemory):
    """The user presses Ctrl-C while the thaw is under way."""

    def thaw(self, timeout_s: float) -> int:
        if not self.thaws:
            self.thaws.append(time.monotonic())
            raise KeyboardInterrupt
        return super().thaw(timeout_s)


class Deaf(Silence):
    """A terminal that is gone."""

    def warning(self, text: str) -> None:
        raise OSError(text)


def test_a_thaw_that_is_interrupted_is_made_up_for() -> None:
    guest = InterruptedOnce()
    with Quiesce(guest, "m", 5, Heard()) as quiesce:
        quiesce.freeze()
        with pytest.raises(KeyboardInterrupt):
            quiesce.thaw()
    assert not guest.frozen


def test_a_warning_that_cannot_be_given_does_not_keep_the_guest_frozen() -> None:
    guest = GuestInMemory(silent_freezes=1, silent_thaws=2)
    with Quiesce(guest, "m", 0.1, Deaf()) as quiesce, pytest.raises(AgentSilentError):
        quiesce.freeze()
    assert not guest.frozen


def test_a_guest_that_says_it_could_not_hold_was_not_held() -> None:
    with Quiesce(ForgetfulGuest(), "win", 30, Silence()) as quiesce:
        assert quiesce.freeze() == 1
        frozen = quiesce.thaw()
    assert not frozen.held
    assert "couldn't hold" in frozen.trouble
