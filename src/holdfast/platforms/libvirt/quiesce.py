"""Freezing a guest's file systems for an instant, with a thaw that does not depend on anything coming back in time.

    freeze sent ─── frozen ─── backup begun ─── thaw sent ─── thawed
         └── deadline: an alarm thread thaws, whatever the capture hangs in, and goes on until the guest says it is

Exactly one of the two thaws: whoever claims it first. If the alarm does, the instant may lie outside the freeze and
is not called consistent.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from holdfast.core.progress import Progress
from holdfast.platforms.libvirt.agent import AgentError, AgentSilentError, GuestAgent, GuestGoneError

_ANSWER_S = 2.0  # for commands that an agent in its right mind answers in milliseconds
_AGAIN_S = 1.0
_LAST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """How a freeze went. `held` says that the guest was frozen from before the instant until after it."""

    held: bool
    freeze_ms: float | None
    trouble: str


class Quiesce:
    """One freeze of one guest; a context manager that does not end before the guest is thawed or reported."""

    def __init__(self, agent: GuestAgent, machine: str, deadline_s: float, progress: Progress) -> None:
        self._agent = agent
        self._machine = machine
        self._deadline_s = deadline_s
        self._progress = progress
        self._alarm = threading.Timer(deadline_s, self._thaw_until_known)
        self._alarm.daemon = True
        self._alarm.name = "holdfast-thaw"
        self._claim = threading.Lock()  # held by the one who thaws, and for good once it is done
        self._thawed = threading.Event()
        self._given_up = threading.Event()
        self._asked_at: float | None = None
        self._thawed_at = 0.0
        self._reported = False

    def freeze(self) -> int:
        """Freeze. How many file systems; raises AgentError, and then the guest is or will be thawed."""
        self._asked_at = time.monotonic()
        self._alarm.start()
        try:
            return self._agent.freeze(self._deadline_s)
        except AgentSilentError:
            self._alarm.cancel()
            self._thaw_in_background()
            raise
        except AgentError:
            self._alarm.cancel()  # an agent that fails to freeze thaws what it had frozen before it says so
            self._note_thawed()
            raise

    def thaw(self) -> Frozen:
        """Thaw, unless the alarm has. A thaw that fails is tried again for as long as this lives, and is no error.

        Raises only what interrupts it; then the end of the context thaws.
        """
        if not self._claim.acquire(blocking=False):
            self._thawed.wait(_ANSWER_S)
            return self._result(held=False, trouble=f"the freeze was ended at its deadline of {self._deadline_s:g} s")
        try:
            self._alarm.cancel()
            count = self._agent.thaw(_ANSWER_S)
            self._note_thawed()
        except AgentError as error:
            self._claim.release()
            self._thaw_in_background()
            # Who refuses may say that it could not hold: Windows ends a freeze by itself after 10 s, and its agent then
            # answers the thaw with an error.
            return self._result(held=isinstance(error, AgentSilentError), trouble=f"thawing failed: {error}")
        except BaseException:
            self._claim.release()
            raise
        if count < 1:
            return self._result(held=False, trouble="the guest had thawed by itself before it was asked to")
        return self._result(held=True, trouble="")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for a thaw that is still under way; a guest that cannot be thawed is reported."""
        self._alarm.cancel()
        if self._asked_at is None:
            return
        if not self._thawed.is_set():
            self._thaw_in_background()
            if not self._thawed.wait(_LAST_WAIT_S):
                self._report("may still be frozen")
        self._given_up.set()

    def _thaw_in_background(self) -> None:
        threading.Thread(target=self._thaw_until_known, name="holdfast-thaw", daemon=True).start()

    def _thaw_until_known(self) -> None:
        """Ask for a thaw until the guest says that it is thawed, is gone, or nobody waits for it any more."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            while not self._given_up.is_set() and not self._try_to_thaw():
                self._given_up.wait(_AGAIN_S)
        except BaseException:
            self._claim.release()
            raise

    def _try_to_thaw(self) -> bool:
        try:
            self._agent.thaw(_ANSWER_S)
            if self._agent.is_frozen(_ANSWER_S):
                return False
        except GuestGoneError:
            pass
        except AgentError as error:
            if not self._reported:
                self._reported = True
                self._report(f"does not answer the request to thaw ({error}); asking on")
            return False
        self._note_thawed()
        self._warn(f"{self._machine} is thawed, {self._freeze_ms() / 1000:.1f} s after the freeze")
        return True

    def _report(self, trouble: str) -> None:
        # libvirt 9.0 loses an agent that restarts during a backup job, and finds it again when it is restarted itself.
        self._warn(
            f"{self._machine} {trouble}; if it hangs: virsh domfsthaw {self._machine}, and if libvirt cannot reach the "
            "agent either, restart libvirt's daemon first, which leaves guests running"
        )

    def _warn(self, text: str) -> None:
        with suppress(Exception):  # a terminal that is gone must not keep the guest frozen
            self._progress.warning(text)

    def _note_thawed(self) -> None:
        self._thawed_at = time.monotonic()
        self._thawed.set()

    def _freeze_ms(self) -> float:
        assert self._asked_at is not None
        return (self._thawed_at - self._asked_at) * 1000

    def _result(self, *, held: bool, trouble: str) -> Frozen:
        return Frozen(held=held, freeze_ms=self._freeze_ms() if self._thawed.is_set() else None, trouble=trouble)
