"""A running guest of the lab, spoken to through its agent: what tests know about it, the guest itself has said."""

import base64
import json
import time
from contextlib import suppress
from typing import Any

import libvirt
import libvirt_qemu

from holdfast.core.errors import FailedError

_FORGET = (
    libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class Guest:
    """One domain. For one thread."""

    def __init__(self, domain: Any) -> None:
        self.domain = domain
        self.name: str = domain.name()
        self.uuid: str = domain.UUIDString()

    def wait_for_agent(self, timeout_s: float = 120) -> float:
        """Seconds until the agent answered. Raises FailedError if it did not in time."""
        start = time.monotonic()
        while time.monotonic() - start < timeout_s:
            with suppress(libvirt.libvirtError):
                self.agent("guest-ping", timeout_s=2)
                return time.monotonic() - start
            time.sleep(0.05)
        raise FailedError(f"the agent of guest {self.name} did not answer within {timeout_s:.0f} s", code="no-agent")

    def agent(self, command: str, arguments: dict[str, Any] | None = None, *, timeout_s: int = 10) -> Any:
        """One command to the agent. Raises libvirt.libvirtError as the binding does."""
        query = {"execute": command} | ({"arguments": arguments} if arguments else {})
        return json.loads(libvirt_qemu.qemuAgentCommand(self.domain, json.dumps(query), timeout_s, 0))["return"]

    def run(self, script: str, *, timeout_s: float = 60) -> str:
        """What a shell script printed inside the guest. Raises FailedError if it failed or took too long."""
        arguments = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
        process = self.agent("guest-exec", arguments)["pid"]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.agent("guest-exec-status", {"pid": process})
            if status["exited"]:
                return self._output(script, status)
            time.sleep(0.05)
        raise FailedError(f"guest {self.name}: not done after {timeout_s:.0f} s: {script}")

    def start_writer(self, directory: str = "/data/steady") -> None:
        """Let the guest write for ever, so that a capture has something to be consistent about (steady-writer).

        Returns when the first file is there.
        """
        self.run(
            f"setsid steady-writer {directory} </dev/null >/dev/null 2>&1 & "
            f"until [ -e {directory}/file-1 ]; do usleep 20000; done"
        )

    def stop_writer(self) -> None:
        """End the writing; what has been written is durable."""
        self.run("kill $(cat /run/steady-writer.pid); sync")

    def check_written(self, directory: str = "/data/steady") -> int:
        """Verify all that the writer left and return its newest serial number. Raises FailedError naming a bad file."""
        _files, newest = self.run(f"steady-check {directory}").split()
        return int(newest)

    def power_off(self) -> None:
        """Pull the plug. Does nothing if the guest is off."""
        with suppress(libvirt.libvirtError):
            self.domain.destroy()

    def forget(self) -> None:
        """Pull the plug and leave nothing of the machine but its disks."""
        self.power_off()
        with suppress(libvirt.libvirtError):
            self.domain.undefineFlags(_FORGET)

    def _output(self, script: str, status: dict[str, Any]) -> str:
        out, err = (base64.b64decode(status.get(key, "")).decode(errors="replace") for key in ("out-data", "err-data"))
        if status.get("exitcode") != 0:
            raise FailedError(f"guest {self.name}: {script!r} failed: {out}{err}")
        return out
