"""Files and programs inside a guest, through its agent. Source: QEMU's qga/qapi-schema.json."""

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from holdfast.core.errors import RefusedError
from holdfast.core.guest import Executed, GuestError
from holdfast.platforms.libvirt.agent import AgentError, AgentSilentError, GuestAgent
from holdfast.platforms.libvirt.calls import asking

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.2
_PIECE: Final = 64 * 1024
_OUTPUT_BYTES: Final = 64 * 1024


class GuestPrograms:
    """What one guest's agent can do with files and programs. What a guest says is bounded, and believed of it alone.

    Once nobody wants them any more, programs are not waited for.
    """

    def __init__(self, agent: GuestAgent, is_unwanted: Callable[[], bool] = lambda: False) -> None:
        self._agent = agent
        self._is_unwanted = is_unwanted

    def read(self, path: str, limit_bytes: int) -> bytes:
        """The beginning of a file. Raises GuestError."""
        try:
            handle = self._agent.ask("guest-file-open", _ANSWER_S, int, path=path, mode="r")
            try:
                return self._read(handle, limit_bytes)
            finally:
                self._agent.ask("guest-file-close", _ANSWER_S, dict, handle=handle)
        except AgentError as error:
            raise GuestError(f"{path} cannot be read: {error}") from error

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a file from its beginning on. Raises GuestError."""
        try:
            handle = self._agent.ask("guest-file-open", _ANSWER_S, int, path=path, mode="w")
            try:
                for piece in pieces:
                    self._write(handle, piece)
                self._agent.ask("guest-file-flush", _ANSWER_S, dict, handle=handle)
            finally:
                self._agent.ask("guest-file-close", _ANSWER_S, dict, handle=handle)
        except AgentError as error:
            raise GuestError(f"{path} cannot be written: {error}") from error

    def run(self, command: Sequence[str], stdin: bytes, timeout_s: float) -> Executed:
        """Run a program to its end. Raises GuestError."""
        arguments: dict[str, Any] = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        try:
            started = self._agent.ask("guest-exec", _ANSWER_S, dict, **arguments)
            return self._wait(command[0], started.get("pid"), time.monotonic() + timeout_s)
        except AgentError as error:
            raise GuestError(f"{command[0]} cannot be run: {error}") from error

    def _read(self, handle: int, limit_bytes: int) -> bytes:
        content = b""
        while len(content) < limit_bytes:
            wanted = min(_PIECE, limit_bytes - len(content))
            answer = self._agent.ask("guest-file-read", _ANSWER_S, dict, handle=handle, count=wanted)
            content += _decoded(answer.get("buf-b64", ""))
            if answer.get("eof") or not answer.get("count"):
                break
        return content[:limit_bytes]

    def _write(self, handle: int, piece: bytes) -> None:
        """All of it, however little the guest takes at a time."""
        while piece:
            encoded = base64.b64encode(piece).decode()
            answer = self._agent.ask("guest-file-write", _ANSWER_S, dict, **{"handle": handle, "buf-b64": encoded})
            count = answer.get("count")
            if not isinstance(count, int) or not 0 < count <= len(piece):
                raise AgentSilentError(f"it took {count!s:.20} of {len(piece)} bytes")
            piece = piece[count:]

    def _wait(self, program: str, pid: Any, until: float) -> Executed:
        while True:
            answer = self._agent.ask("guest-exec-status", _ANSWER_S, dict, pid=pid)
            if answer.get("exited"):
                return _executed(answer)
            if time.monotonic() >= until or self._is_unwanted():
                raise GuestError(f"{program} does not end")
            time.sleep(_POLL_S)


def _executed(answer: Mapping[str, Any]) -> Executed:
    status = answer.get("exitcode")
    printed = b"".join(_decoded(answer.get(name, ""))[:_OUTPUT_BYTES] for name in ("out-data", "err-data"))
    return Executed(status=status if isinstance(status, int) else -1, output=printed.decode(errors="replace"))


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise AgentSilentError(f"its answer makes no sense: {text!s:.80}") from error


class RunningGuest:
    """A Guest: a domain that runs, and whose agent answers."""

    def __init__(self, name: str, programs: GuestPrograms) -> None:
        self.name = name
        self._programs = programs

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a file."""
        self._programs.write(path, pieces)

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        """Run a program."""
        return self._programs.run(command, stdin, timeout_s)


def running_guest(domain: Any) -> RunningGuest:
    """Raises RefusedError for a machine that is off, or whose agent does not answer."""
    with asking("see whether the machine runs"):
        name, running = domain.name(), domain.isActive()
    if not running:
        raise RefusedError(f"{name} is off", hint="switch it on, or bring its files back with --output", code="is-off")
    agent = GuestAgent(domain)
    try:
        agent.ping(_ANSWER_S)
    except AgentError as error:
        hint = "start qemu-guest-agent in the guest, or bring the files back with --output"
        raise RefusedError(f"the guest agent of {name} does not answer: {error}", hint=hint, code="no-agent") from error
    return RunningGuest(name, GuestPrograms(agent))
