"""What can go wrong while a machine runs from backup, each on a real guest. What must come of it: docs/recovery.md."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from holdfast.platforms.files.qcow2 import read_qcow2
from tests.e2e.booting import MIB, PAUSED_BY_ERROR, Boots, booting, kill, read_cold, start_writer
from tests.e2e.protected import kill_qemu, shut_down, switch_on, wait_until
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost, private_host
from tests.testbed.lab import Lab, open_lab

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def boots(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    with booting(lab, tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def small() -> Iterator[Boots]:
    """Storage of 56 MiB, on a host that was started after it was mounted, so that it sees it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        storage = Path(home) / "storage"
        storage.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=56m", "small", storage], check=True)
        try:
            with private_host("small") as host, open_lab(host) as lab, booting(lab, Path(home)) as made:
                yield made
        finally:
            subprocess.run(["umount", storage], check=True)


def finalize(boots: Boots, name: str) -> None:
    done = boots.site.run("mount", "finalize", name, "--json")
    assert done.status == 0, done.err


def attendant_of(server: int) -> int:
    """The process that holds the same mount's mark."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"holdfast.bootstrap.attendant" in words and int(process.name) != server:
            return int(process.name)
    raise AssertionError("nobody attends")


def test_a_machine_whose_server_and_attendant_died_goes_on_when_it_is_served_again(boots: Boots) -> None:
    guest, _ = boots.boot("orphan")
    acks = start_writer(boots, guest)
    server = boots.mount("orphan")["process"]
    kill(attendant_of(server))
    assert "unattended" in boots.site.run("mount", "list").out
    acks.go_on()
    kill(server)
    read_cold(guest)
    wait_until(lambda: guest.domain.state() == PAUSED_BY_ERROR)
    listed = boots.site.run("mount", "list", "--connect", boots.lab.host.uri, "--json").value
    assert [each["tenant"]["name"] for each in listed] == ["orphan"]
    assert boots.holds()
    done = boots.site.run("mount", "resume", "orphan", "--json")
    assert done.status == 0, done.err
    acks.go_on()
    guest.domain.reset(0)
    guest.wait_for_agent()
    finalize(boots, "orphan")
    guest.forget()


def test_a_move_whose_program_is_killed_goes_on_in_qemu_and_is_finished_later(boots: Boots) -> None:
    guest, result = boots.boot("killed")
    moving = boots.site.start("mount", "finalize", "killed", "--rate", "4MiB")
    wait_until(lambda: guest.domain.blockJobInfo("vda").get("cur", 0) > 0)
    kill(moving.pid)
    moving.communicate()
    assert guest.domain.blockJobInfo("vda")
    finalize(boots, "killed")
    assert read_qcow2(Path(result["disks"][0]["output"])).backing_file is None
    guest.forget()


def test_qemu_killed_in_the_middle_of_the_move_costs_nothing_that_was_told_to_be_written(boots: Boots) -> None:
    guest, result = boots.boot("cut")
    acks = start_writer(boots, guest)
    moving = boots.site.start("mount", "finalize", "cut", "--rate", "8MiB")
    wait_until(lambda: guest.domain.blockJobInfo("vda").get("cur", 0) > 8 * MIB)
    told = acks.newest()
    kill_qemu(boots.lab.host, guest)
    _, said = moving.communicate(timeout=60)
    assert moving.returncode == 1, said
    guest.domain.create()
    guest.wait_for_agent()
    assert told <= int(guest.run("tail -n 1 /acks"))
    finalize(boots, "cut")
    assert subprocess.run(["qemu-img", "check", "-U", "-q", result["disks"][0]["output"]], check=False).returncode in {
        0,
        3,
    }
    done = boots.site.run("backup", "cut", "--json")
    assert done.end["results"][0]["capture"] == "full", "the mark died with QEMU"
    guest.forget()


def test_a_full_overlay_pauses_the_machine_and_room_lets_it_go_on(small: Boots) -> None:
    guest, result = small.boot("full")
    acks = start_writer(small, guest)
    ballast = small.storage / "ballast"
    fill(ballast)
    wait_until(lambda: guest.domain.state() == PAUSED_BY_ERROR)
    told = acks.newest()
    ballast.unlink()
    guest.domain.resume()
    acks.go_on()

    fill(ballast, leave=4 * MIB)
    done = small.site.run("mount", "finalize", "full", "--json")
    assert done.error["code"] in {"full", "not-home"}, done.err
    ballast.unlink()
    if guest.domain.state() == PAUSED_BY_ERROR:
        guest.domain.resume()
    acks.go_on()
    assert told <= int(guest.run("tail -n 1 /acks"))
    guest.power_off()
    assert small.site.run("mount", "remove", "full", "--yes").status == 0
    assert not Path(result["disks"][0]["output"]).exists()


def fill(path: Path, leave: int = 0) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(path.parent).free - leave))


def test_a_machine_whose_host_crashed_in_the_middle_of_the_move_runs_on_another(tmp_path: Path) -> None:
    with (
        private_host("first") as first,
        private_host("second") as second,
        open_lab(first) as lab,
        booting(lab, tmp_path) as boots,
    ):
        guest, result = boots.boot("moved")
        acks = start_writer(boots, guest)
        definition = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        moving = boots.site.start("mount", "finalize", "moved", "--rate", "4MiB")
        wait_until(lambda: guest.domain.blockJobInfo("vda").get("cur", 0) > 0)
        told = acks.newest()
        first.crash()
        moving.communicate(timeout=120)
        run_elsewhere(second, boots, definition, told)
        assert read_qcow2(Path(result["disks"][0]["output"])).backing_file is None
        first.start()
        lab.connection = first.connect()


def run_elsewhere(host: PrivateHost, boots: Boots, definition: str, told: int) -> None:
    with connected(host) as connection:
        connection.defineXML(definition)
        where = ("--connect", host.uri, "--json")
        done = boots.site.run("mount", "resume", "moved", *where)
        assert done.status == 0, done.err
        elsewhere = Guest(connection.lookupByName("moved"))
        elsewhere.domain.create()
        elsewhere.wait_for_agent()
        assert told <= int(elsewhere.run("tail -n 1 /acks"))
        done = boots.site.run("mount", "finalize", "moved", *where)
        assert done.status == 0, done.err
        elsewhere.forget()


@contextmanager
def connected(host: PrivateHost) -> Iterator[libvirt.virConnect]:
    connection = host.connect()
    try:
        yield connection
    finally:
        connection.close()


def test_a_machine_comes_home_at_once_unless_it_is_to_stay(boots: Boots) -> None:
    where = ("--name", "straight", "--storage", str(boots.storage))
    done = boots.site.run("restore", "boot", "origin@latest", *where, "--json")
    assert done.status == 0, done.err
    booted, home = done.end["results"]
    assert (home["machine_id"], home["point"]) == (booted["restored_id"], booted["point"])
    assert boots.mounts() == []
    assert read_qcow2(Path(booted["disks"][0]["output"])).backing_file is None
    boots.lab.find("straight").forget()


def test_a_machine_that_is_off_is_moved_home_and_stays_off(boots: Boots) -> None:
    guest, result = boots.boot("off")
    guest.run("echo new >/new; sync")
    shut_down(guest)
    finalize(boots, "off")
    assert not guest.domain.isActive()
    assert read_qcow2(Path(result["disks"][0]["output"])).backing_file is None
    switch_on(guest)
    assert guest.run("cat /old /new") == "old\nnew\n"
    done = boots.site.run("backup", "off", "--json")
    assert done.end["results"][0]["capture"] == "incremental", done.end
    guest.forget()


def test_ten_machines_at_once_run_from_one_point(boots: Boots) -> None:
    names = [f"ten-{number}" for number in range(10)]
    with ThreadPoolExecutor(len(names)) as pool:
        booted = list(pool.map(lambda name: boots.boot(name, "--agent-timeout", "600"), names))
    for guest, result in booted:
        assert result["seconds_to_agent"] is not None
        assert guest.run("cat /old") == "old\n"
    assert len({guest.uuid for guest, _ in booted}) == len(names)
    assert len(boots.holds()) == len(names)
    assert boots.site.run("mount", "remove", *names, "--yes").status == 0
    assert boots.mounts() == []
    assert boots.holds() == []
