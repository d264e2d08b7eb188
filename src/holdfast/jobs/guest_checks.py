"""Looking at a machine on trial: whether it comes up, and whether what it is for works. What a guest says is data."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from holdfast.core.ending import stop_if_ending
from holdfast.core.guest import GuestError
from holdfast.core.progress import Progress
from holdfast.core.trial import TrialMachine
from holdfast.core.verification import CheckOutcome

_POLL_S: Final = 1.0
_FILE_BYTES: Final = 256 * 1024
_TEXT_BYTES: Final = 300
UP: Final = r"\blogin:|Reached target .{0,80}(?:Multi-User|Graphical)"
_DEAD: Final = re.compile(
    r"Kernel panic|Unable to mount root fs|No bootable device|Boot failed|not a bootable disk|Missing operating system"
    r"|Operating system not found|BOOTMGR is missing|grub rescue>|Failed to load ldlinux|No DEFAULT or UI configuration"
    r"|You are in (?:emergency|rescue) mode|Give root password for maintenance|\(initramfs\)|dracut:/#"
)
_HURT: Final = re.compile(
    r"EXT4-fs error[^\n]{0,200}|EXT4-fs \(\S{1,40}\): (?:warning: mounting fs with errors|error)[^\n]{0,200}"
    r"|XFS \(\S{1,40}\):[^\n]{0,200}orruption[^\n]{0,200}|BTRFS (?:error|critical)[^\n]{0,200}"
    r"|Buffer I/O error[^\n]{0,200}"
)
_ON_DISKS: Final = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"}
_LISTENING: Final = "0A"
_IS_ACTIVE: Final = (
    'if command -v systemctl >/dev/null; then systemctl is-active -- "$1"; '
    'elif pidof -- "$1" >/dev/null; then echo running; else echo "not running"; exit 3; fi'
)
_FAILED_UNITS: Final = "if command -v systemctl >/dev/null; then systemctl list-units --failed --plain --no-legend; fi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What a machine on trial is to do, and each of it within `timeout_s`.

    `services` are units of systemd, elsewhere names of programs. `script` is a shell script that is run inside. A
    machine without an agent is up when `console`, a regular expression, is found in what it prints.
    """

    timeout_s: float
    services: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    script: bytes = b""
    console: str = UP


def boots(machine: TrialMachine, expected: Expectations) -> CheckOutcome:
    """Whether it comes up: its agent answers, or it prints what is expected of one that has none.

    Raises FailedError if the process was asked to end, and as `is_running`.
    """
    began = time.monotonic()
    is_up = re.compile(expected.console)
    while (waited := time.monotonic() - began) < expected.timeout_s:
        stop_if_ending()
        if machine.has_agent:
            if (seconds := machine.wait_for_agent(_POLL_S)) is not None:
                return CheckOutcome(name="boot", ok=True, detail=f"the guest agent answered after {seconds:.1f} s")
        elif found := is_up.search(machine.console()):
            return CheckOutcome(name="boot", ok=True, detail=f"printed {found[0]!r} after {waited:.1f} s")
        else:
            time.sleep(_POLL_S)
        if dead := _DEAD.search(machine.console()):
            return CheckOutcome(name="boot", ok=False, detail=_around(machine.console(), dead))
        if not machine.is_running():
            return CheckOutcome(name="boot", ok=False, detail=f"it ended or stopped after {waited:.1f} s")
    missing = "its guest agent did not answer" if machine.has_agent else "it did not print what was expected"
    last = _last_line(machine.console())
    detail = f"{missing} in {expected.timeout_s:g} s" + (f"; its last words: {last}" if last else "")
    return CheckOutcome(name="boot", ok=False, detail=detail)


def checks_inside(machine: TrialMachine, expected: Expectations, progress: Progress) -> Iterator[CheckOutcome]:
    """Ask the guest through its agent. What was not asked for and cannot be asked is a warning.

    Raises FailedError if the process was asked to end.
    """
    for look in (file_systems, failed_services):
        try:
            yield from look(machine)
        except GuestError as error:
            progress.warning(f"{look.__name__.replace('_', ' ')} were not looked at: {error}")
    limit = f"(up to {expected.timeout_s:g} s)"
    for service in expected.services:
        progress.step(f"Waiting for service {service} {limit}")
        yield _tried(f"service {service}", partial(_service, machine, service), expected.timeout_s)
    for port in expected.ports:
        progress.step(f"Waiting for port {port} {limit}")
        yield _tried(f"port {port}", partial(_port, machine, port), expected.timeout_s)
    if expected.script:
        progress.step(f"Running the script {limit}")
        yield _tried("script", partial(_script, machine, expected), 0)


def kernel_trouble(machine: TrialMachine) -> CheckOutcome:
    """Whether it printed that its disks or file systems are hurt."""
    found = _HURT.search(machine.console())
    return CheckOutcome(name="console", ok=found is None, detail=_short(found[0]) if found else "no complaint of disks")


def file_systems(machine: TrialMachine) -> Iterator[CheckOutcome]:
    """Whether each file system on a disk is mounted for writing and has counted no error. Raises GuestError."""
    mounts = [line.split() for line in machine.read("/proc/mounts", _FILE_BYTES).splitlines()]
    mine = [each for each in mounts if len(each) >= 4 and each[0].startswith("/dev/") and each[2] in _ON_DISKS]
    troubles = [trouble for mount in mine for trouble in _troubles(machine, *mount[:4])]
    if mine:
        detail = "; ".join(troubles) or f"{len(mine)} mounted for writing, no error counted"
        yield CheckOutcome(name="file systems", ok=not troubles, detail=_short(detail))


def failed_services(machine: TrialMachine) -> Iterator[CheckOutcome]:
    """Whether systemd, where it is, could start all that it was to start. Raises GuestError."""
    listed = machine.run(["/bin/sh", "-c", _FAILED_UNITS], timeout_s=30)
    if failed := [line.split()[0] for line in listed.output.splitlines() if line.strip()]:
        yield CheckOutcome(name="services", ok=False, detail=_short(f"failed: {', '.join(failed)}"))


def _troubles(machine: TrialMachine, device: str, place: str, kind: str, options: str) -> Iterator[str]:
    if "ro" in options.split(","):
        yield f"{place} is mounted read-only"
    if kind == "ext4":
        name = device.rpartition("/")[2]
        try:
            count = machine.read(f"/sys/fs/ext4/{name}/errors_count", 32).strip()
        except GuestError:
            return  # an older kernel, or a device of several names
        if count not in {"", "0"}:
            yield f"{place} has counted {count} errors"


def _service(machine: TrialMachine, service: str) -> tuple[bool, str]:
    done = machine.run(["/bin/sh", "-c", _IS_ACTIVE, "sh", service], timeout_s=30)
    return done.status == 0, done.output.strip() or f"exit status {done.status}"


def _port(machine: TrialMachine, port: int) -> tuple[bool, str]:
    tables = [machine.read("/proc/net/tcp", _FILE_BYTES)]
    with suppress(GuestError):  # a kernel without it
        tables.append(machine.read("/proc/net/tcp6", _FILE_BYTES))
    listens = port in listening_ports(tables)
    return listens, "a program listens" if listens else "nobody listens"


def listening_ports(tables: Iterable[str]) -> set[int]:
    """The TCP ports that are listened at. Source: Documentation/networking/proc_net_tcp.rst of Linux."""
    rows = (line.split() for table in tables for line in table.splitlines()[1:])
    return {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if len(row) > 3 and row[3] == _LISTENING and re.fullmatch("[0-9A-F]+:[0-9A-F]{4}", row[1])
    }


def _script(machine: TrialMachine, expected: Expectations) -> tuple[bool, str]:
    done = machine.run(["/bin/sh", "-s"], stdin=expected.script, timeout_s=expected.timeout_s)
    last = _last_line(done.output)
    return done.status == 0, f"exit status {done.status}" + (f": {last}" if last else "")


def _tried(name: str, look: Callable[[], tuple[bool, str]], patience_s: float) -> CheckOutcome:
    """Look until it is right, for a while: a guest that answers may still be starting what it is for."""
    until = time.monotonic() + patience_s
    while True:
        stop_if_ending()
        try:
            ok, detail = look()
        except GuestError as error:
            ok, detail = False, str(error)
        if ok or time.monotonic() >= until:
            return CheckOutcome(name=name, ok=ok, detail=_short(detail))
        time.sleep(_POLL_S)


def _around(text: str, found: re.Match[str]) -> str:
    """The line in which something was found."""
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    return _short(text[start : end if end >= 0 else None])


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _short(text: str) -> str:
    """Printable, and no longer than belongs into a log entry."""
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()[:_TEXT_BYTES]
