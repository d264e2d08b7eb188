"""A server as a child that outlives us once it is ready, if it is to.

    we      start it; hand the message over
    server  makes ready what it is to serve, and answers
    we      write down what is served; let it go, or keep it
    server  serves, until it is told to end

Until it is let go, it ends when we do; one that is kept always does. Secrets go through the conversation, a socket
without a name, and nowhere else.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.ending import stop_if_ending
from holdfast.core.errors import FailedError, HoldfastError

_ABOVE_ACTIVATION: Final = 10
"""Descriptors from 3 on are for systemd's socket activation."""
_END_S: Final = 10.0
_LOOK_S: Final = 0.5
_GO: Final = b"go"
_STAY: Final = b"stay"
_PR_SET_PDEATHSIG: Final = 1


class _Failure(msgspec.Struct, frozen=True):
    """A HoldfastError of the server's."""

    kind: str
    message: str
    hint: str
    code: str


class _Answer(msgspec.Struct, frozen=True):
    """What the server says: that it is ready, with warnings, or why it is not."""

    warnings: list[str] = []
    failure: _Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is to be started: `command` makes its command line of the conversation's descriptor."""

    name: str
    hint: str
    command: Callable[[int], list[str]]


class Starting:
    """A server that ends with us unless it is let go."""

    def __init__(self, program: Program, stdin: int, log: Path, lock: int) -> None:
        """Start it; `lock` is a descriptor that it keeps open as long as it lives. Raises FailedError."""
        self._program = program
        self._log = log
        self._conversation, theirs = Pipe()
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ACTIVATION) for each in (theirs.fileno(), lock)]
        try:
            with log.open("ab") as output:
                self._child = subprocess.Popen(
                    program.command(high[0]),
                    stdin=stdin,
                    stdout=output,
                    stderr=output,
                    pass_fds=high,
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise FailedError(f"cannot start {program.name}: {error.strerror or error}", hint=program.hint) from error
        finally:
            theirs.close()
            for each in high:
                os.close(each)

    @property
    def process(self) -> int:
        """Its number."""
        return self._child.pid

    def hand_over(self, message: bytes) -> Sequence[str]:
        """Give it the message and wait until it is ready. Returns warnings. Raises what the plugin raised.

        Raises FailedError also if we are asked to end meanwhile.
        """
        try:
            self._conversation.send_bytes(message)
            while not self._conversation.poll(_LOOK_S):
                stop_if_ending()
            answer = msgspec.msgpack.decode(self._conversation.recv_bytes(), type=_Answer)
        except (EOFError, OSError) as error:
            raise FailedError(
                f"{self._program.name} does not serve: {self._complaint()}",
                hint=self._program.hint,
                code="not-served",
            ) from error
        if answer.failure is not None:
            raise _as_error(answer.failure)
        return answer.warnings

    def let_go(self) -> None:
        """It serves from now on, whatever becomes of us. Raises FailedError if it has died."""
        self._settle(_GO)
        self._child.returncode = 0  # it is not waited for

    def keep(self) -> None:
        """It serves from now on, until the thread that started it is gone. Raises FailedError if it has died."""
        self._settle(_STAY)

    def end(self) -> None:
        """It is not wanted any more: it gives back its hold, or is killed. Who was kept has been told to end."""
        self._conversation.close()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _settle(self, word: bytes) -> None:
        try:
            self._conversation.send_bytes(word)
            self._conversation.recv_bytes()
        except (EOFError, OSError) as error:
            raise FailedError(f"{self._program.name} ended: {self._complaint()}", code="not-served") from error
        self._conversation.close()

    def _complaint(self) -> str:
        return " ".join(self._log.read_text(errors="replace").split()) or "it says nothing"


def answer_ready(conversation: Connection, warnings: Sequence[str]) -> bool:
    """For the server: tell that it is ready. Returns whether to go on and serve.

    Source for signals at a parent's death: prctl(2). That of one who was let go is taken back, since nbdkit asks for
    one when it is given a socket.
    """
    try:
        conversation.send_bytes(msgspec.msgpack.encode(_Answer(list(warnings))))
        at_parents_death = signal.SIGTERM if conversation.recv_bytes() == _STAY else 0
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, at_parents_death, 0, 0, 0)
        conversation.send_bytes(_GO)
    except (EOFError, OSError):
        return False
    return True


def answer_failure(conversation: Connection, error: HoldfastError) -> None:
    """For the server: tell why there is nothing to serve."""
    failure = _Failure(error.kind, error.message, error.hint, error.code)
    conversation.send_bytes(msgspec.msgpack.encode(_Answer(failure=failure)))


def _environment() -> dict[str, str]:
    """Ours, without passphrases, and with the places where this interpreter finds what it imports."""
    kept = {name: value for name, value in os.environ.items() if "PASSPHRASE" not in name}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"}


def _as_error(failure: _Failure) -> HoldfastError:
    kinds = {each.kind: each for each in HoldfastError.__subclasses__()}
    return kinds.get(failure.kind, FailedError)(failure.message, hint=failure.hint, code=failure.code)
