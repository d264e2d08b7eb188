"""A domain on trial: transient, so that libvirt forgets it when it ends, and ended by libvirt if we die."""

import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import libvirt

from holdfast.core.ending import is_ending
from holdfast.core.errors import ConflictError, FullError
from holdfast.core.guest import Executed
from holdfast.core.trial import TrialPlan
from holdfast.platforms.files.overlay import exported_below, make_scratch_overlay
from holdfast.platforms.libvirt.agent import GuestAgent
from holdfast.platforms.libvirt.calls import asking, meaning
from holdfast.platforms.libvirt.domain_xml import agent_state
from holdfast.platforms.libvirt.fit import fit
from holdfast.platforms.libvirt.guest import GuestPrograms
from holdfast.platforms.libvirt.isolation import count_cards, has_screen, isolate
from holdfast.platforms.libvirt.recreate import redraw, write_new
from holdfast.platforms.libvirt.rewrite import Rewritten
from holdfast.platforms.libvirt.screen import picture_of, text_on
from holdfast.platforms.libvirt.standstill import standstill
from holdfast.platforms.libvirt.switch import Switch
from holdfast.platforms.workspace import Workspace

_CONSOLE_BYTES: Final = 64 * 1024
"""The end of what it printed."""
_TO_PASS: Final = 0o711
"""QEMU's user must reach the files in a trial's directory by their names."""
_GONE: Final = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
"""What is said of a domain that has ended, or ends just now."""


class LibvirtTrial:
    """A TrialMachine. For one thread."""

    def __init__(self, connection: Any, rewritten: Rewritten, console: Path, scratch: Path) -> None:
        self._connection = connection
        self._rewritten = rewritten
        self._console = console
        self._scratch = scratch
        self._domain: Any = None
        self._began = 0.0
        self._switch: Switch | None = None

    @property
    def warnings(self) -> Sequence[str]:
        """What is not as it was."""
        return tuple(self._rewritten.warnings)

    @property
    def has_agent(self) -> bool:
        """Whether there is a channel for one."""
        return agent_state(self._rewritten.xml) != "none"

    def start(self) -> None:
        """Create the domain. Raises ConflictError if there is one of its name."""
        self._began = time.monotonic()
        try:
            self._domain = self._connection.createXML(self._rewritten.text, libvirt.VIR_DOMAIN_START_AUTODESTROY)
        except libvirt.libvirtError as error:
            self._require_free_name()
            raise meaning(error, "start the machine on trial") from error
        self._switch = Switch(self._domain, self._rewritten.xml, self._began)

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered."""
        assert self._switch is not None, "started before it is waited for"
        return self._switch.wait_for_agent(time.monotonic() - self._began + timeout_s)

    def is_running(self) -> bool:
        """Whether it has neither ended nor been paused."""
        try:
            still, state = standstill(self._domain), self._domain.state()[0]
        except libvirt.libvirtError as error:
            if error.get_error_code() in _GONE:
                return False
            raise meaning(error, "see whether the machine on trial runs") from error
        if still == "full":
            raise FullError(
                f"no space left in {self._scratch} for what a machine on trial writes",
                hint="name a larger directory (--scratch), or try fewer machines at once (--at-once)",
            )
        return bool(state == libvirt.VIR_DOMAIN_RUNNING)

    def console(self) -> str:
        """The end of what it printed, and what stands on its screen."""
        try:
            printed = self._console.read_bytes()[-_CONSOLE_BYTES:].decode(errors="replace")
        except OSError:
            printed = ""
        return printed + text_on(self._domain)

    def screen(self) -> bytes | None:
        """A PNG of it."""
        return picture_of(self._connection, self._domain) if has_screen(self._rewritten.xml) else None

    def read(self, path: str, limit_bytes: int) -> str:
        """The beginning of a file in the guest."""
        return self._programs().read(path, limit_bytes).decode(errors="replace")

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        """Run a program in the guest."""
        return self._programs().run(command, stdin, timeout_s)

    def end(self) -> None:
        """Nothing of it runs any more."""
        if self._domain is not None:
            with suppress(libvirt.libvirtError):
                self._domain.destroy()

    def _require_free_name(self) -> None:
        name = self._rewritten.xml.findtext("name")
        with asking("list machines"):
            taken = any(domain.name() == name for domain in self._connection.listAllDomains())
        if taken:
            raise ConflictError(f"machine {name} is there already", hint="wait until it has ended", code="on-trial")

    def _programs(self) -> GuestPrograms:
        return GuestPrograms(GuestAgent(self._domain), is_ending)


@contextmanager
def trial(connection: Any, plan: TrialPlan) -> Iterator[LibvirtTrial]:
    """Make the overlays and the definition. Raises as making files does, DamagedError for a definition of nonsense."""
    with ExitStack() as stack:
        space = stack.enter_context(Workspace(plan.scratch, mode=_TO_PASS)).path
        overlays = {disk.name: space / f"{disk.name}.qcow2" for disk in plan.machine.disks}
        nvram = None if plan.machine.nvram is None else space / "nvram.fd"
        rewritten = redraw(plan.machine, overlays, nvram)
        fit(connection, rewritten)
        ports = [_ports(stack) for _ in range(count_cards(rewritten.xml))]
        console = space / "console"
        isolate(rewritten.xml, ports=ports, socket=plan.socket, console=console)
        for disk in plan.machine.disks:
            make_scratch_overlay(overlays[disk.name], disk.size_bytes, exported_below(plan.socket, disk.name))
        if nvram is not None and plan.machine.nvram is not None:
            write_new(nvram, plan.machine.nvram)
        machine = LibvirtTrial(connection, rewritten, console, plan.scratch)
        try:
            yield machine
        finally:
            machine.end()


def memory_of(domain: ET.Element) -> int:
    """Bytes of memory that a definition asks for. Source: libvirt.org/formatdomain.html, Memory Allocation."""
    memory = domain.find("memory")
    if memory is None or not (memory.text or "").strip().isdigit():
        return 0
    return int(memory.text or 0) * _unit_bytes(memory.get("unit", "KiB"))


def _unit_bytes(unit: str) -> int:
    if unit in {"b", "bytes"}:
        return 1
    base = 1000 if unit.endswith("B") and not unit.endswith("iB") else 1024
    return int(base ** ("kmgt".find(unit[:1].lower()) + 1))


def _ports(stack: ExitStack) -> tuple[int, int]:
    """(a port that was free, a port that we hold and at which nothing is ever read)."""
    sink = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sink.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1]), int(sink.getsockname()[1])
