"""A real guest that is booted from backup in its own place: it can have its disks back, or go on with the new ones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import libvirt
import pytest

from holdfast.core.boot import BootPlan, Origin
from holdfast.core.errors import HoldfastError, UnreachableError
from holdfast.core.ports import DiskPlan, MachinePlan
from holdfast.platforms.files.qcow2 import read_qcow2
from holdfast.platforms.libvirt import connect
from holdfast.platforms.libvirt.hypervisor import LibvirtHost
from tests.e2e.booting import MIB, Boots, booting
from tests.e2e.command import Finished
from tests.e2e.protected import shut_down, switch_on
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost, private_host
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def boots(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    with booting(lab, tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def guest(boots: Boots, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest that has been backed up, has written more since, and is off."""
    name = str(request.node.originalname).rpartition("_")[2]
    guest = boots.lab.boot_from_disk(name, [boots.lab.system_disk(name)])
    guest.run("echo old >/state; sync")
    done = boots.site.run("backup", name, "--json")
    assert done.status == 0, done.err
    guest.run("echo new >/state; sync")
    shut_down(guest)
    yield guest
    guest.forget()


def boot_in_place(boots: Boots, guest: Guest, *options: str) -> Finished:
    return boots.site.run("restore", "boot", f"{guest.name}@latest", "--in-place", *options, "--json")


def definition(guest: Guest) -> str:
    return str(guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def assert_not_restored_while_it_runs_from_backup(boots: Boots, guest: Guest) -> None:
    refused = boots.site.run("restore", "machine", f"{guest.name}@latest", "--in-place", "--json").error
    assert refused["code"] == "on-backup"
    assert f"holdfast mount finalize {guest.name}" in refused["hint"]
    assert f"holdfast mount remove {guest.name}" in refused["hint"]


def tracking(boots: Boots, guest: Guest) -> list[str]:
    listed = boots.site.run("machine", "list", "--json").value
    return [disk["tracking"] for each in listed if each["name"] == guest.name for disk in each["disks"]]


def test_a_machine_that_is_booted_in_its_own_place_gets_its_disks_back_if_it_is_removed(
    boots: Boots, guest: Guest
) -> None:
    before = definition(guest)
    done = boot_in_place(boots, guest, "--keep-on-backup")
    assert done.status == 0, done.err
    (result,) = done.end["results"]
    assert result["restored_id"] == guest.domain.UUIDString()
    assert guest.run("cat /state") == "old\n"
    assert boot_in_place(boots, guest).error["code"] == "on-backup"
    guest.run("echo lost >/state; sync")
    assert_not_restored_while_it_runs_from_backup(boots, guest)
    shut_down(guest)
    assert_not_restored_while_it_runs_from_backup(boots, guest)

    refused = boots.site.run("mount", "remove", guest.name, "--json").error
    assert refused["code"] == "not-confirmed"
    assert refused["message"].startswith(f"refusing to remove {guest.name} without --yes")
    assert refused["message"].endswith("and get back the disks that it had")
    assert boots.site.run("mount", "remove", guest.name, "--yes").status == 0
    assert not guest.domain.isActive()
    assert definition(guest) == before
    assert not Path(result["disks"][0]["output"]).exists()
    assert boots.mounts() == []
    switch_on(guest)
    assert guest.run("cat /state") == "new\n"
    done = boots.site.run("backup", guest.name, "--json")
    assert done.status == 0, done.err
    assert done.end["results"][0]["capture"] == "incremental"
    assert boots.site.run("point", "verify", f"{guest.name}@latest").status == 0


def test_nothing_is_changed_if_it_cannot_be_started(boots: Boots, guest: Guest, tmp_path: Path) -> None:
    medium = tmp_path / "absent.iso"
    disk = f"<disk type='file' device='cdrom'><source file='{medium}'/><target dev='sda' bus='sata'/></disk>"
    medium.touch()
    guest.domain.attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    medium.unlink()
    broken = definition(guest)
    storage = tmp_path / "storage"
    storage.mkdir()
    assert boot_in_place(boots, guest, "--storage", str(storage)).status != 0
    assert definition(guest) == broken
    assert list(storage.iterdir()) == []
    assert boots.mounts() == []


def test_a_machine_that_is_booted_in_its_own_place_and_moved_home_goes_on_as_itself(boots: Boots, guest: Guest) -> None:
    (former,) = [line for line in definition(guest).splitlines() if "<source file=" in line]
    done = boot_in_place(boots, guest)
    assert done.status == 0, done.err
    booted, home = done.end["results"]
    (left,) = home["former_disks"]
    assert left in former
    assert Path(left).exists()
    overlay = Path(booted["disks"][0]["output"])
    assert read_qcow2(overlay).backing_file is None
    assert "<holdfast:" not in definition(guest)
    assert left not in definition(guest)
    assert boots.mounts() == []
    assert boots.site.run("mount", "remove", guest.name, "--json").error["code"] == "not-on-backup"
    assert tracking(boots, guest) == ["ok"]
    shut_down(guest)
    assert tracking(boots, guest) == ["ok"]
    switch_on(guest)

    guest.run("dd if=/dev/urandom of=/change bs=64k count=16 2>/dev/null; sync")
    done = boots.site.run("backup", guest.name, "--json")
    assert done.status == 0, done.err
    (backup,) = done.end["results"]
    assert backup["capture"] == "incremental", backup["disks"]
    assert backup["read_bytes"] < 12 * MIB
    assert guest.run("cat /state") == "old\n"
    assert backup["warnings"] == []


def plan_of(name: str, identity: str, place: Path, nvram: bytes | None = None) -> BootPlan:
    """To run it over nobody's server."""
    machine = MachinePlan(
        name=name,
        definition=b"",
        nvram=nvram,
        disks=[DiskPlan(name="vda", size_bytes=64 * MIB, format="qcow2")],
        storage={"": place},
        networks={},
    )
    origin = Origin(
        repository="/srv/backup",
        point="0123456789abcdef",
        machine=name,
        born_at=datetime.now(UTC),
        socket=place / "nobody.nbd",
    )
    return BootPlan(identity=identity, machine=machine, origin=origin, owner="01234567", holes={})


FIRMWARE = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os>
<type arch='x86_64' machine='q35'>hvm</type>
<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
<nvram>{nvram}</nvram></os><features><acpi/></features>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{disk}'/><target dev='vda'/></disk></devices></domain>"""


def test_firmware_variables_that_others_stand_in_for_are_told_and_no_file_but_the_new_ones_is_removed(
    lab: Lab, tmp_path: Path
) -> None:
    connection = libvirt.open(lab.host.uri)
    own, foreign = tmp_path / "own.fd", tmp_path / "foreign.fd"
    own.write_bytes(b"own")
    foreign.write_bytes(b"foreign")
    domain = connection.defineXML(FIRMWARE.format(name="firm", nvram=own, disk=tmp_path / "own.qcow2"))
    place = tmp_path / "place"
    place.mkdir()
    plan = plan_of("firm", domain.UUIDString(), place, nvram=b"of the point")
    with connect(lab.host.uri) as platform, platform.stand_in(plan) as machine:
        machine.prepare()
        (new,) = place.glob("*-nvram.fd")
        definition = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert f"{new}</nvram>" in definition
        connection.defineXML(definition.replace(f"{new}</nvram>", f"{foreign}</nvram>"))  # somebody names another file
        booted = platform.booted("firm")
        assert booted is not None
        assert booted.former_nvram == str(own)
        assert new in booted.discard()
    assert list(place.iterdir()) == []
    assert (own.read_bytes(), foreign.read_bytes()) == (b"own", b"foreign")
    assert str(own) in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
    connection.close()


def start_late(platform: LibvirtHost, guest: Guest, place: Path) -> None:
    """In its own place; but somebody is faster."""
    with platform.stand_in(plan_of(guest.name, guest.domain.UUIDString(), place)) as machine:
        switch_on(guest)
        machine.prepare()
        machine.start()


def test_a_machine_that_somebody_starts_meanwhile_goes_on_with_its_own_disks(
    boots: Boots, guest: Guest, tmp_path: Path
) -> None:
    before = definition(guest)
    with connect(boots.lab.host.uri) as platform, pytest.raises(HoldfastError, match="running"):
        start_late(platform, guest, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert guest.domain.isActive()
    assert guest.run("cat /state") == "new\n"
    assert definition(guest) == before


def fail_to_start(platform: LibvirtHost, host: PrivateHost, plan: BootPlan) -> None:
    """Whether it was started nobody could say any more."""
    with platform.stand_in(plan) as machine:
        machine.prepare()
        host.kill_daemon()
        machine.start()


def test_what_a_machine_may_run_on_is_not_removed_while_libvirt_cannot_be_asked(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    disk, variables = tmp_path / "own.qcow2", tmp_path / "own.fd"
    with private_host("unasked") as host:
        made = host.connect()
        identity = made.defineXML(FIRMWARE.format(name="firm", nvram=variables, disk=disk)).UUIDString()
        plan = plan_of("firm", identity, place, nvram=b"of the point")
        with connect(host.uri) as platform, pytest.raises(UnreachableError, match="cannot give firm its disks back"):
            fail_to_start(platform, host, plan)
        assert len(list(place.iterdir())) == 2
        host.start_daemon()
        with connect(host.uri) as platform:
            booted = platform.booted("firm")
            assert booted is not None
            booted.discard()
        assert list(place.iterdir()) == []
