"""Actors that take turns: each in a thread of its own, of which one runs at a time, until its next call of the port."""

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from holdfast.core.errors import HoldfastError
from tests.explore.alone import seed_this_thread

_PATIENCE_S: Final = 60.0


class Died(BaseException):
    """The actor is dead; nothing it does reaches the storage any more. No handler of ordinary errors swallows it."""


class Call(NamedTuple):
    """What an actor is about to ask of the storage."""

    kind: str
    name: str

    def __str__(self) -> str:
        folder, slash, rest = self.name.rpartition("/")
        return f"{self.kind} {folder}{slash}{rest[-12:]}"


BEGIN: Final = Call("begin", "")


class Actor:
    """One participant. `history` digests everything it was told: what it does next follows from that alone."""

    def __init__(self, name: str, work: Callable[["Actor"], object]) -> None:
        self.name = name
        self.waiting: Call | None = BEGIN
        self.history = hash(name)
        self.result: object = None
        self.error: HoldfastError | None = None
        self.bug: BaseException | None = None
        self.dead = False
        self.spoilt = False
        """Whether one of its own calls met anything but being well."""
        self._work = work
        self._fate = ""
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def able(self) -> bool:
        """Whether it will go on when it is let."""
        return self.waiting is not None and not self.dead

    @property
    def succeeded(self) -> bool:
        """Whether it has done its work and said so."""
        return self.waiting is None and not self.dead and self.error is None

    def step(self, fate: str) -> None:
        """Let it make its call, which meets this fate, and go on to the next."""
        self._fate = fate
        if self.waiting == BEGIN:
            self._thread.start()
        else:
            self._go.release()
        assert self._parked.acquire(timeout=_PATIENCE_S), f"{self.name} hangs after {self.waiting}"

    def clear_away(self) -> None:
        """End the thread of an actor that is dead or not needed any more."""
        self.dead = self.dead or self.waiting is not None
        if self.waiting not in {None, BEGIN}:
            self._go.release()
            self._thread.join(_PATIENCE_S)
            assert not self._thread.is_alive(), f"{self.name} does not die"

    def take_turn(self, call: Call) -> str:
        """Called by the actor itself: wait until it may make its call. Returns the call's fate."""
        if self.dead:
            raise Died
        self.waiting = call
        self._parked.release()
        self._go.acquire()
        if self.dead:
            raise Died
        return self._fate

    def note(self, *told: object) -> None:
        """The actor was told something."""
        self.history = hash((self.history, *told))

    def _run(self) -> None:
        seed_this_thread(self.name)
        try:
            self.result = self._work(self)
        except HoldfastError as error:
            self.error = error
        except Died:
            pass
        except BaseException as bug:  # noqa: BLE001 - reported by whoever plays the schedule
            self.bug = bug
        finally:
            self.waiting = None
            self._parked.release()
