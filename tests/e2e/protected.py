"""A guest that is captured again and again, each time against the capture before, and what can happen to it between."""

import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from holdfast.core.ports import CaptureOptions, Platform
from holdfast.core.progress import Silence
from holdfast.platforms.libvirt.domain_xml import parse, read_disks
from tests.e2e.observed import Observed, observe
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost

MIB = 1 << 20
OPTIONS = CaptureOptions(owner="0a1b2c3d")


class Listener(Silence):
    """Progress that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Protected:
    """The guest, and what its captures said."""

    def __init__(self, platform: Platform, guest: Guest, directory: Path) -> None:
        self.platform = platform
        self.guest = guest
        self.directory = directory
        self.latest: Observed | None = None
        self.captures: list[str] = []
        self.reasons: dict[str, str] = {}
        self.consistency = ""
        self.warnings: list[str] = []
        self.freeze_ms: float | None = None

    def capture(self, options: CaptureOptions = OPTIONS, *, settle: bool = True) -> Observed:
        """Capture, compare everything with the reference, and settle as if a point had been committed."""
        baseline = self.latest.baseline if self.latest else None
        heard = Listener()
        with self.platform.capture(self.guest.uuid, baseline, options, heard) as capture:
            seen = observe(capture, self.directory / f"p{len(self.captures)}", self.latest)
            capture.confirm()
            self.captures.append("+".join(sorted({disk.capture for disk in capture.disks})))
            self.reasons = {disk.name: disk.reason for disk in capture.disks}
            self.consistency = capture.consistency
            self.freeze_ms = capture.freeze_ms
            if settle:
                assert list(capture.settle()) == []
                self.latest = seen
        self.warnings = [*capture.warnings, *heard.warnings]
        return seen

    def checkpoints(self) -> list[str]:
        """What libvirt knows."""
        return [checkpoint.getName() for checkpoint in self.guest.domain.listAllCheckpoints()]


def image_of(guest: Guest) -> Path:
    """The first disk's image."""
    path = read_disks(parse(guest.domain.XMLDesc()))[0].path
    assert path is not None
    return path


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def shut_down(guest: Guest) -> None:
    """As its owner would."""
    guest.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    wait_until(lambda: not guest.domain.isActive())


def switch_on(guest: Guest) -> None:
    """Start it and wait until it answers."""
    guest.domain.create()
    guest.wait_for_agent()


def kill_qemu(host: PrivateHost, guest: Guest) -> None:
    """The process dies with what it knew."""
    host.execute("sh", "-c", f"kill -KILL $(cat /run/libvirt/qemu/{guest.name}.pid)")
    wait_until(lambda: not guest.domain.isActive())
