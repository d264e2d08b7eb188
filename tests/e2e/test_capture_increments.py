"""Increments tell exactly what changed, on real guests, whatever happened between two captures.

Every capture is compared with a reference that an independent program reads of the same instant (`observed`).
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import libvirt
import pytest

from holdfast.core.ports import CaptureOptions, Platform
from holdfast.platforms.libvirt import connect
from tests.e2e.protected import MIB, OPTIONS, Protected, image_of, kill_qemu, shut_down, switch_on
from tests.testbed.domains import disk_xml
from tests.testbed.hosts import PrivateHost
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest

Protect = Callable[..., Protected]


@pytest.fixture(scope="module")
def platform(host: PrivateHost) -> Iterator[Platform]:
    with connect(host.uri) as connected:
        yield connected


@pytest.fixture
def protect(platform: Platform, lab: Lab, tmp_path: Path) -> Iterator[Protect]:
    """Clone a guest with these disks, have it write something, and capture it once in full."""
    with ExitStack() as guests:

        def start(name: str, *disks: Path) -> Protected:
            guest = lab.clone(name, list(disks) or [lab.data_disk(name, size_mib=64)])
            guests.callback(guest.forget)
            guest.run("dd if=/dev/urandom of=/data/old bs=64k count=80; sync")
            protected = Protected(platform, guest, tmp_path)
            protected.capture()
            assert protected.captures == ["full"]
            return protected

        yield start


def test_captures_while_the_guest_writes(protect: Protect) -> None:
    it = protect("writing")
    it.guest.start_writer()
    for _ in range(3):
        it.capture()
    it.guest.stop_writer()
    assert it.captures == ["full"] + ["incremental"] * 3
    assert it.consistency == "filesystem"
    assert len(it.checkpoints()) == 1


def test_an_idle_guest_costs_next_to_nothing(protect: Protect) -> None:
    it = protect("idle")
    assert it.capture().changed_bytes < MIB


def test_what_was_trimmed_and_rewritten_between(protect: Protect) -> None:
    it = protect("trimming")
    it.guest.run(
        "rm /data/old; sync; fstrim -v /data; dd if=/dev/urandom of=/data/new bs=64k count=10; sync", timeout_s=30
    )
    it.capture()
    it.guest.run("dd if=/dev/zero of=/data/new bs=64k count=10 conv=notrunc; sync")
    it.capture()
    assert it.captures[1:] == ["incremental", "incremental"]


def test_a_shutdown_and_a_start_between(protect: Protect) -> None:
    it = protect("restarted")
    shut_down(it.guest)
    switch_on(it.guest)
    it.guest.run("dd if=/dev/urandom of=/data/again bs=64k count=5; sync")
    it.capture()
    assert it.captures[-1] == "incremental"


def test_running_and_stopped_captures_build_on_each_other(protect: Protect) -> None:
    it = protect("onandoff")
    it.guest.run("dd if=/dev/urandom of=/data/while-on bs=64k count=5; sync")
    shut_down(it.guest)
    assert it.capture().changed_bytes > 5 * 65536
    assert it.consistency == "filesystem"
    assert it.capture().changed_bytes == 0
    switch_on(it.guest)
    it.guest.run("dd if=/dev/urandom of=/data/on-again bs=64k count=5; sync")
    assert it.capture().changed_bytes > 5 * 65536
    assert it.captures == ["full", "incremental", "incremental", "incremental"]
    assert len(it.checkpoints()) == 1


def test_a_guest_never_captured_running_is_tracked_from_its_first_stopped_capture(
    platform: Platform, lab: Lab, tmp_path: Path
) -> None:
    guest = lab.clone("offfirst", [lab.data_disk("offfirst", size_mib=64)])
    guest.run("dd if=/dev/urandom of=/data/old bs=64k count=80; sync")
    guest.power_off()
    it = Protected(platform, guest, tmp_path)
    it.capture()
    assert it.consistency == "crash"
    switch_on(guest)
    guest.run("dd if=/dev/urandom of=/data/new bs=64k count=5; sync")
    it.capture()
    assert it.captures == ["full", "incremental"]
    guest.forget()


def test_a_killed_qemu_loses_its_marks_and_the_next_capture_says_so(protect: Protect, host: PrivateHost) -> None:
    it = protect("killed")
    it.guest.run("dd if=/dev/urandom of=/data/lost bs=64k count=5; sync")
    kill_qemu(host, it.guest)
    switch_on(it.guest)
    it.capture()
    assert it.captures[-1] == "full"
    assert "mark cannot be used" in it.reasons["vda"]
    it.capture()
    assert it.captures[-1] == "incremental"
    assert len(it.checkpoints()) == 1


def test_a_killed_qemu_is_noticed_by_a_stopped_capture_too(protect: Protect, host: PrivateHost) -> None:
    it = protect("killedoff")
    shut_down(it.guest)
    switch_on(it.guest)
    kill_qemu(host, it.guest)
    it.capture()
    assert it.captures[-1] == "full"
    assert "broken" in it.reasons["vda"]
    it.capture()
    assert it.captures[-1] == "incremental"


def test_disks_that_grow_running_and_stopped(protect: Protect) -> None:
    it = protect("growing")
    it.guest.domain.blockResize("vda", 96 * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    it.guest.run("dd if=/dev/urandom of=/dev/vda bs=64k seek=1500 count=3 conv=notrunc; sync")
    it.capture()
    shut_down(it.guest)
    subprocess.run(["qemu-img", "resize", "-q", image_of(it.guest), "128M"], check=True)
    it.capture()
    switch_on(it.guest)
    it.guest.run("dd if=/dev/urandom of=/dev/vda bs=64k seek=2000 count=3 conv=notrunc; sync")
    it.capture()
    assert it.captures[1:] == ["incremental"] * 3


def test_a_machine_defined_anew_is_known_again(protect: Protect, lab: Lab) -> None:
    it = protect("redefined")
    domain = it.guest.domain
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    shut_down(it.guest)
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
    it.guest.domain = lab.connection.defineXML(xml)
    switch_on(it.guest)
    assert it.checkpoints() == []
    it.guest.run("dd if=/dev/urandom of=/data/new bs=64k count=5; sync")
    it.capture()
    assert it.captures[-1] == "incremental"
    assert len(it.checkpoints()) == 1


def test_a_disk_plugged_in_makes_one_full(protect: Protect, lab: Lab) -> None:
    it = protect("plugged")
    it.guest.domain.attachDevice(disk_xml(lab.data_disk("plugged-b", size_mib=64), "vdb"))
    it.capture()
    assert it.captures[-1] == "full"
    assert "vdb needs a full read" in it.reasons["vda"]
    assert "added after point" in it.reasons["vdb"]
    it.capture()
    assert it.captures[-1] == "incremental"


def test_a_raw_disk_among_others_keeps_all_of_them_full(protect: Protect, lab: Lab) -> None:
    disks = [lab.data_disk("mixed", size_mib=64), lab.data_disk("mixed", size_mib=64, image_format="raw")]
    it = protect("mixed", *disks)
    it.capture()
    assert it.captures == ["full", "full"]
    assert "raw disks keep no record" in it.reasons["vdb"]
    assert "vdb needs a full read" in it.reasons["vda"]
    shut_down(it.guest)
    it.capture()
    assert it.captures[-1] == "full"


def test_an_older_image_put_back_is_never_taken_for_the_newer(protect: Protect, tmp_path: Path) -> None:
    it = protect("putback")
    image = image_of(it.guest)
    shut_down(it.guest)
    older = tmp_path / "older"
    subprocess.run(["cp", "--sparse=always", image, older], check=True)
    switch_on(it.guest)
    it.guest.run("dd if=/dev/urandom of=/data/newer bs=64k count=5; sync")
    it.capture()
    assert it.captures[-1] == "incremental"
    shut_down(it.guest)
    subprocess.run(["cp", "--sparse=always", older, image], check=True)  # in place: path and inode stay
    switch_on(it.guest)
    it.capture()
    assert it.captures[-1] == "full"
    assert "mark cannot be used" in it.reasons["vda"]


def test_an_image_put_back_under_its_own_mark_is_told_correctly(protect: Protect, tmp_path: Path) -> None:
    it = protect("sameback")
    image = image_of(it.guest)
    it.guest.run("dd if=/dev/urandom of=/data/kept bs=64k count=5; sync")
    shut_down(it.guest)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    switch_on(it.guest)
    it.guest.run("dd if=/dev/urandom of=/data/undone bs=64k count=5; sync")
    shut_down(it.guest)
    subprocess.run(["cp", "--sparse=always", copy, image], check=True)
    it.capture()
    assert it.captures[-1] == "incremental"


def test_a_capture_that_is_not_settled_leaves_the_mark_before(protect: Protect) -> None:
    it = protect("unsettled")
    before = it.checkpoints()
    it.guest.run("dd if=/dev/urandom of=/data/one bs=64k count=5; sync")
    it.capture(settle=False)
    assert it.checkpoints() == before
    shut_down(it.guest)
    it.capture(settle=False)
    assert it.checkpoints() == before
    assert it.capture().changed_bytes > 5 * 65536
    assert it.captures[1:] == ["incremental"] * 3


def test_nobody_elses_checkpoints_are_touched_or_needed(protect: Protect) -> None:
    it = protect("foreign")
    theirs = "<domaincheckpoint><name>theirs</name></domaincheckpoint>"
    it.guest.domain.checkpointCreateXML(theirs)
    neighbour = Protected(it.platform, it.guest, it.directory / "neighbour")
    neighbour.directory.mkdir()
    neighbour.capture(CaptureOptions(owner="ffffffff"))
    it.guest.run("dd if=/dev/urandom of=/data/new bs=64k count=5; sync")
    it.capture()
    it.capture()
    assert it.captures[1:] == ["incremental", "incremental"]
    assert "theirs" in it.checkpoints()
    assert sum(name.startswith("holdfast-ffffffff-") for name in it.checkpoints()) == 1
    assert sum(name.startswith(f"holdfast-{OPTIONS.owner}-") for name in it.checkpoints()) == 1
    neighbour.capture(CaptureOptions(owner="ffffffff"))
    assert neighbour.captures == ["full", "incremental"]
    shut_down(it.guest)
    it.capture()
    assert it.captures[-1] == "incremental"
    assert "theirs" in it.checkpoints()


def test_tracking_is_listed_as_it_is(protect: Protect, platform: Platform, lab: Lab, host: PrivateHost) -> None:
    disks = [lab.data_disk("listed", size_mib=64), lab.data_disk("listed", size_mib=64, image_format="raw")]
    it = protect("listed", *disks)

    def listed() -> tuple[str, bool, list[str]]:
        machine = next(machine for machine in platform.machines() if machine.name == "listed")
        assert [disk.size_bytes for disk in machine.disks] == [64 * MIB, 64 * MIB]
        assert [disk.path for disk in machine.disks] == [str(path) for path in disks]
        return machine.state, machine.agent, [disk.tracking for disk in machine.disks]

    assert listed() == ("running", True, ["ok", "none"])
    it.guest.domain.suspend()
    assert listed() == ("paused", False, ["ok", "none"])
    it.guest.domain.resume()
    shut_down(it.guest)
    assert listed() == ("off", False, ["ok", "none"])
    switch_on(it.guest)
    kill_qemu(host, it.guest)
    assert listed() == ("off", False, ["broken", "none"])
    switch_on(it.guest)
    assert listed() == ("running", True, ["broken", "none"])
