"""A machine that runs from backup: made of a point of a real guest, and watched from outside."""

import json
import os
import select
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from tests.e2e.command import Site
from tests.e2e.protected import wait_until
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

MIB = 1 << 20
PAUSED_BY_ERROR = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
_WRITER = "n=0; while :; do n=$((n+1)); echo $n >>/acks; sync; echo ACK $n >/dev/ttyS0; usleep 50000; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boots:
    """A point of a guest `origin`, which is off by now, and a place to run it in."""

    site: Site
    lab: Lab
    storage: Path

    def boot(self, name: str, *options: str) -> tuple[Guest, dict[str, Any]]:
        """Run it under a name, and leave it on backup."""
        where = ("--name", name, "--storage", str(self.storage), "--keep-on-backup")
        done = self.site.run("restore", "boot", "origin@latest", *where, *options, "--json")
        assert done.status == 0, done.err
        (result,) = done.end["results"]
        return self.lab.find(name), result

    def mounts(self) -> list[dict[str, Any]]:
        return list(self.site.run("mount", "list", "--json").value)

    def mount(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.mounts() if each["tenant"]["name"] == name]
        return found

    def holds(self) -> list[Any]:
        return list(self.site.run("point", "show", "origin@latest", "--json").value["holds"])


@contextmanager
def booting(lab: Lab, home: Path) -> Iterator[Boots]:
    """A repository at `home`, and a place for disks beside it; nothing runs from it afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        environment = {"HOLDFAST_CONNECT": lab.host.uri, "HOLDFAST_RUN": run}
        site = Site(home=home, environment=environment)
        site.create()
        guest = lab.boot_from_disk("origin", [lab.system_disk("origin")])
        guest.run("echo old >/old; dd if=/dev/urandom of=/large bs=1M count=24 2>/dev/null; sync")
        done = site.run("backup", "origin", "--json")
        assert done.status == 0, done.err
        guest.forget()
        storage = site.home / "storage"
        storage.mkdir(exist_ok=True)
        yield Boots(site=site, lab=lab, storage=storage)
        for state in Path(run).glob("*/mount.json"):
            site.run("mount", "remove", json.loads(state.read_bytes())["id"], "--yes")


def kill(process: int) -> None:
    """At once, and wait until it is gone."""
    server = os.pidfd_open(process)
    signal.pidfd_send_signal(server, signal.SIGKILL)
    assert select.select([server], [], [], 30)[0]
    os.close(server)


def read_cold(guest: Guest) -> None:
    """Let the guest read what it has never read: it may stand still over that."""
    script = "cat /large /root/payload >/dev/null"
    with suppress(libvirt.libvirtError):
        guest.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", script]})


def start_writer(boots: Boots, guest: Guest) -> "Acks":
    """Let it write line after line, and say of each that it is durable. Returns when it does."""
    guest.run("setsid sh -c '" + _WRITER + "' </dev/null >/dev/null 2>&1 &")
    acks = Acks(boots.storage / f"{guest.name}-origin.serial")
    acks.go_on()
    return acks


class Acks:
    """What the guest says on its serial line to be written."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def newest(self) -> int:
        """The last number that it has said."""
        said = [
            line.split()[1]
            for line in self._log.read_text(errors="replace").splitlines()
            if " " in line and line.startswith("ACK")
        ]
        return max((int(word) for word in said if word.isdigit()), default=0)

    def go_on(self) -> None:
        """Wait until it writes again, or still."""
        before = self.newest()
        wait_until(lambda: self.newest() > before + 3, timeout_s=60)
