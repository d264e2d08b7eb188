"""A real guest that runs straight from the repository, whatever happens to what serves it, and is moved home."""

import json
import os
import select
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from holdfast.platforms.files.qcow2 import read_qcow2
from tests.e2e.command import Site
from tests.e2e.protected import shut_down, switch_on, wait_until
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest

MIB = 1 << 20
PAUSED_BY_ERROR = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
WRITER = "n=0; while :; do n=$((n+1)); echo $n >>/acks; sync; echo ACK $n >/dev/ttyS0; usleep 50000; done"


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


@pytest.fixture(scope="module")
def boots(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        environment = {"HOLDFAST_CONNECT": lab.host.uri, "HOLDFAST_RUN": run}
        site = Site(home=tmp_path_factory.mktemp("site"), environment=environment)
        site.create()
        guest = lab.boot_from_disk("origin", [lab.system_disk("origin")])
        guest.run("echo old >/old; dd if=/dev/urandom of=/large bs=1M count=24 2>/dev/null; sync")
        done = site.run("backup", "origin", "--json")
        assert done.status == 0, done.err
        guest.forget()
        storage = site.home / "storage"
        storage.mkdir()
        yield Boots(site=site, lab=lab, storage=storage)
        for state in Path(run).glob("*/mount.json"):
            site.run("mount", "remove", json.loads(state.read_bytes())["id"], "--yes")


def kill(process: int) -> None:
    server = os.pidfd_open(process)
    signal.pidfd_send_signal(server, signal.SIGKILL)
    assert select.select([server], [], [], 30)[0]
    os.close(server)


def test_a_machine_runs_from_backup_and_is_moved_home_while_it_runs(boots: Boots) -> None:
    before = boots.holds()
    guest, result = boots.boot("home")
    assert guest.run("cat /old") == "old\n"
    assert [hold["reason"] for hold in boots.holds() if hold not in before] == ["home runs from it"]
    guest.run("echo new >/new; sync")
    interrupt_moving(boots, guest)
    done = boots.site.run("mount", "finalize", "home", "--json")
    assert done.status == 0, done.err
    assert read_qcow2(Path(result["disks"][0]["output"])).backing_file is None
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        definition = guest.domain.XMLDesc(flags)
        assert "nbd" not in definition
        assert "<holdfast:" not in definition
    assert boots.mounts() == []
    assert boots.holds() == before

    guest.run("dd if=/dev/urandom of=/change bs=64k count=16 2>/dev/null; sync")
    done = boots.site.run("backup", "home", "--json")
    assert done.status == 0, done.err
    (backup,) = done.end["results"]
    assert backup["capture"] == "incremental", backup["disks"]
    assert backup["read_bytes"] < 12 * MIB
    shut_down(guest)
    switch_on(guest)
    assert guest.run("cat /old /new") == "old\nnew\n"
    guest.forget()


def interrupt_moving(boots: Boots, guest: Guest) -> None:
    """Ctrl-C ends the move, not the machine, and what has been moved stays."""
    moving = boots.site.start("mount", "finalize", guest.name, "--rate", "2MiB")
    wait_until(lambda: guest.domain.blockJobInfo("vda").get("cur", 0) > 0)
    moving.send_signal(signal.SIGINT)
    moving.communicate(timeout=60)
    assert moving.returncode == 130
    assert not guest.domain.blockJobInfo("vda")
    assert guest.run("cat /new") == "new\n"


def test_what_a_guest_was_told_is_written_survives_everything_that_serves_it(boots: Boots) -> None:
    guest, result = boots.boot("faults")
    guest.run("setsid sh -c '" + WRITER + "' </dev/null >/dev/null 2>&1 &")
    acks = Acks(boots.storage / "faults-origin.serial")
    acks.go_on()

    kill(boots.mount("faults")["process"])
    wait_until(lambda: boots.mount("faults")["process"] not in (None, 0))
    read_cold(guest)
    acks.go_on()

    away = boots.site.repository.with_name("away")
    boots.site.repository.rename(away)
    read_cold(guest)
    wait_until(lambda: guest.domain.state() == PAUSED_BY_ERROR)
    away.rename(boots.site.repository)
    acks.go_on()

    guest.domain.suspend()
    kill(boots.mount("faults")["process"])
    wait_until(lambda: boots.mount("faults")["process"] > 0)
    assert guest.domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED  # somebody's own wish
    guest.domain.resume()
    acks.go_on()

    told = acks.newest()
    guest.domain.destroy()
    switch_on(guest)
    assert told <= int(guest.run("tail -n 1 /acks"))

    assert boots.site.run("mount", "remove", "faults", "--json").error["code"] == "not-confirmed"
    assert guest.domain.isActive()
    assert boots.site.run("mount", "remove", "faults", "--yes").status == 0
    assert "faults" not in {domain.name() for domain in boots.lab.connection.listAllDomains()}
    assert not Path(result["disks"][0]["output"]).exists()
    assert boots.mounts() == []


def read_cold(guest: Guest) -> None:
    """Let the guest read what it has never read: it may stand still over that."""
    script = "cat /large /root/payload >/dev/null"
    with suppress(libvirt.libvirtError):
        guest.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", script]})


class Acks:
    """What the guest says on its serial line to be written."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def newest(self) -> int:
        said = [
            line.split()[1]
            for line in self._log.read_text(errors="replace").splitlines()
            if " " in line and line.startswith("ACK")
        ]
        return max((int(word) for word in said if word.isdigit()), default=0)

    def go_on(self) -> None:
        before = self.newest()
        wait_until(lambda: self.newest() > before + 3, timeout_s=60)
