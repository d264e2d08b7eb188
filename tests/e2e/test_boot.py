"""A real guest that runs straight from the repository, whatever happens to what serves it, and is moved home."""

import signal
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from holdfast.platforms.files.qcow2 import read_qcow2
from tests.e2e.booting import MIB, PAUSED_BY_ERROR, Boots, booting, kill, read_cold, start_writer
from tests.e2e.protected import shut_down, switch_on, wait_until
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def boots(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    with booting(lab, tmp_path_factory.mktemp("site")) as made:
        yield made


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
    acks = start_writer(boots, guest)

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
    assert (boots.storage / "faults-origin.serial").exists()
    assert boots.site.run("mount", "remove", "faults", "--yes").status == 0
    assert "faults" not in {domain.name() for domain in boots.lab.connection.listAllDomains()}
    assert not Path(result["disks"][0]["output"]).exists()
    assert list(boots.storage.glob("faults-*")) == []
    assert boots.mounts() == []
