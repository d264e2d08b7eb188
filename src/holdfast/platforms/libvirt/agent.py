"""The guest agent, asked through libvirt with a time-out for each question.

`virDomainFSFreeze` would wait for ever by default, and its time-out is a setting of the domain that would outlive us,
so each command goes through `virDomainQemuAgentCommand`, which takes its own. (libvirt notes on the domain that such
commands were used: "custom guest agent control commands".)

Source for the commands: QEMU's qga/qapi-schema.json.
"""

import json
import math
from typing import Any, TypeVar

import libvirt
import libvirt_qemu

_Answer = TypeVar("_Answer")
_REFUSED = {libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED}


class AgentError(Exception):
    """The guest agent did not do it."""


class AgentRefusedError(AgentError):
    """It answered no, or there is no agent: nothing was done."""


class AgentSilentError(AgentError):
    """It did not answer in time, or in no known words: whether it was done, or will be, is not known."""


class GuestGoneError(AgentError):
    """There is no guest any more."""


class GuestAgent:
    """The agent inside one running domain. For any thread; commands of one domain wait for each other."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain

    def ping(self, timeout_s: float) -> None:
        """Return if the agent answers."""
        self.ask("guest-ping", timeout_s, dict)

    def freeze(self, timeout_s: float) -> int:
        """Flush and freeze all file systems. How many there were."""
        return self.ask("guest-fsfreeze-freeze", timeout_s, int)

    def thaw(self, timeout_s: float) -> int:
        """Thaw all file systems. How many were frozen until now."""
        return self.ask("guest-fsfreeze-thaw", timeout_s, int)

    def is_frozen(self, timeout_s: float) -> bool:
        """Whether a freeze is in force, or may be."""
        return self.ask("guest-fsfreeze-status", timeout_s, str) != "thawed"

    def ask(self, command: str, timeout_s: float, kind: type[_Answer], **arguments: Any) -> _Answer:
        """What a command returns, which has to be of this `kind`.

        Raises AgentError. libvirt counts whole seconds; after a silence it first waits 5 s for an agent in step.
        """
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        try:
            answer = libvirt_qemu.qemuAgentCommand(self._domain, request, max(1, math.ceil(timeout_s)), 0)
        except libvirt.libvirtError as error:
            raise self._meaning(error) from error
        return read_answer(answer, kind)

    def _meaning(self, error: libvirt.libvirtError) -> AgentError:
        said = error.get_error_message() or str(error)
        try:
            if not self._domain.isActive():
                return GuestGoneError("the guest is gone")
        except libvirt.libvirtError as lost:
            return AgentSilentError(str(lost))
        kind = AgentRefusedError if error.get_error_code() in _REFUSED else AgentSilentError
        return kind(said)


def read_answer(text: str, kind: type[_Answer]) -> _Answer:
    """What an agent returned, which has to be of this `kind`. Raises AgentSilentError: guests can say anything."""
    try:
        value = json.loads(text)["return"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise AgentSilentError(f"its answer makes no sense: {text!s:.80}") from error
    if type(value) is not kind:
        raise AgentSilentError(f"its answer makes no sense: {text!s:.80}")
    return value
