"""The definition of a machine that runs from backup, and what is left of it when it does not any more."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import libvirt
import pytest

from holdfast.core.boot import Origin
from holdfast.core.errors import RefusedError
from holdfast.core.ports import DiskPlan
from holdfast.core.progress import Silence
from holdfast.platforms.libvirt.booted import find_booted
from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.libvirt.on_backup import (
    checkpoint_of,
    former_disks,
    former_nvram,
    like_any_other,
    list_files,
    listed_files,
    overlays_of,
    read_origin,
    remember,
    run_from_backup,
    unfinished,
    without_stand_ins,
)
from holdfast.platforms.libvirt.rewrite import NewPlaces, rewrite

PLAIN = """<domain type="kvm"><name>web</name><uuid>11111111-1111-1111-1111-111111111111</uuid>
<metadata><os xmlns="urn:x">debian</os></metadata><devices>
<disk type="file"><driver name="qemu" type="qcow2" error_policy="report"/><source file="/vm/web-vda.qcow2"/>
<target dev="vda"/></disk>
<disk type="file"><driver name="qemu" type="raw" copy_on_read="on"/><source file="/vm/shared"/>
<target dev="vdb"/></disk>
</devices></domain>"""
VOLUME = """<disk type="volume"><driver name="qemu" type="raw"/><source pool="vm" volume="web"/>
<target dev="vda"/></disk>"""
ORIGIN = Origin(
    repository="/srv/backup & more",
    point="0123456789abcdef",
    machine="web01 <old>",
    born_at=datetime(2026, 3, 1, 2, 3, 4, 5, tzinfo=UTC),
    socket=Path("/run/holdfast/x.nbd"),
)
OVERLAYS = {"vda": Path("/vm/web-vda.qcow2")}


def on_backup() -> str:
    domain = parse(PLAIN)
    run_from_backup(domain, "22222222-2222-2222-2222-222222222222", ORIGIN, "holdfast-0a-1", OVERLAYS)
    return ET.tostring(domain, encoding="unicode")


def in_place() -> str:
    """Where web-vda.qcow2 stands in for a volume."""
    domain = parse(on_backup())
    remember(domain, [ET.fromstring(VOLUME)])
    return ET.tostring(domain, encoding="unicode")


def disks_of(definition: str) -> list[tuple[str, dict[str, str]]]:
    devices = parse(definition).findall("devices/disk")
    return [(each.find("target").get("dev"), each.find("source").attrib) for each in devices]  # type: ignore[union-attr,misc]


def test_a_disk_whose_place_is_said_in_no_known_way_is_one_that_others_stand_in_for() -> None:
    """Else the machine would be taken for one beside its original, and be undefined."""
    domain = parse(on_backup())
    remember(domain, [ET.fromstring('<disk type="vhostuser"><target dev="vda"/></disk>')])
    assert former_disks(domain) == [""]


def test_a_machine_gets_its_disks_back_in_their_places() -> None:
    assert former_disks(parse(in_place())) == ["web"]
    assert disks_of(without_stand_ins(in_place())) == [
        ("vda", {"pool": "vm", "volume": "web"}),
        ("vdb", {"file": "/vm/shared"}),
    ]


def test_a_machine_gets_a_disk_back_though_its_stand_in_was_attached_elsewhere() -> None:
    domain = parse(in_place())
    target = domain.find("devices/disk/target")
    assert target is not None
    target.set("dev", "sda")
    moved = ET.tostring(domain, encoding="unicode")
    assert disks_of(without_stand_ins(moved)) == disks_of(without_stand_ins(in_place()))


def test_a_machine_gets_a_disk_back_though_its_stand_in_was_taken_out() -> None:
    domain = parse(in_place())
    devices = domain.find("devices")
    assert devices is not None
    devices.remove(devices.findall("disk")[0])
    taken_out = ET.tostring(domain, encoding="unicode")
    assert sorted(disks_of(without_stand_ins(taken_out)), key=str) == [
        ("vda", {"pool": "vm", "volume": "web"}),
        ("vdb", {"file": "/vm/shared"}),
    ]


def test_the_firmware_variables_that_a_machine_had_are_told_however_they_were_named() -> None:
    for nvram in (
        "<nvram template='/t'>/vm/vars.fd</nvram>",
        "<nvram type='file'><source file='/vm/vars.fd'/></nvram>",
    ):
        domain = parse(on_backup())
        remember(domain, [ET.fromstring(VOLUME), ET.fromstring(nvram)])
        assert former_nvram(domain) == Path("/vm/vars.fd")
    assert former_nvram(parse(in_place())) is None


@pytest.mark.parametrize("is_a_copy", [False, True])
def test_files_that_were_made_for_a_machine_go_with_it_and_not_with_a_copy_of_it(
    tmp_path: Path, *, is_a_copy: bool
) -> None:
    made = tmp_path / "web-console.log"
    made.write_bytes(b"login:")
    domain = parse(on_backup().replace("/vm/web-vda.qcow2", str(tmp_path / "web-vda.qcow2")))
    list_files(domain, [made])
    if is_a_copy:
        domain.find("uuid").text = "33333333-3333-3333-3333-333333333333"  # type: ignore[union-attr]
    machine = find_booted(FakeDomain(ET.tostring(domain, encoding="unicode")))
    assert machine is not None
    machine.discard()
    assert made.exists() == is_a_copy
    assert listed_files(parse(like_any_other(ET.tostring(domain, encoding="unicode")))) == []


def test_a_copy_of_a_machine_that_runs_in_its_own_place_never_gets_the_disks_of_its_original() -> None:
    copy = in_place().replace("22222222-2222-2222-2222-222222222222", "33333333-3333-3333-3333-333333333333", 1)
    assert former_disks(parse(copy)) == []
    assert ("vda", {"file": "/vm/web-vda.qcow2"}) in disks_of(without_stand_ins(copy))


def test_the_definition_carries_all_that_is_needed_to_serve_the_machine_elsewhere() -> None:
    domain = parse(on_backup())
    assert read_origin(domain) == ORIGIN
    assert overlays_of(domain) == OVERLAYS
    assert checkpoint_of(domain) == "holdfast-0a-1"
    assert domain.findtext("uuid") == "22222222-2222-2222-2222-222222222222"


def test_errors_of_its_disks_pause_it_and_the_chain_is_written_out_to_its_end() -> None:
    disk, other = parse(on_backup()).findall("devices/disk")
    driver, below = disk.find("driver"), disk.find("backingStore")
    assert driver is not None
    assert below is not None
    assert (driver.get("error_policy"), driver.get("rerror_policy")) == ("stop", "stop")
    assert below.find("source/host[@socket='/run/holdfast/x.nbd']") is not None
    assert 10 <= int(below.find("source/reconnect").get("delay")) <= 30  # type: ignore[union-attr,arg-type]
    assert below.find("backingStore") is not None
    assert other.find("backingStore") is None
    assert unfinished(parse(on_backup()), ORIGIN) == ["vda"]


def test_a_machine_that_is_home_has_its_own_policies_again_and_no_trace_of_the_backup() -> None:
    domain = parse(like_any_other(on_backup()))
    assert read_origin(domain) is None
    assert overlays_of(domain) == {}
    first, other = (each.attrib for each in domain.findall("devices/disk/driver"))
    assert first == {"name": "qemu", "type": "qcow2", "error_policy": "report"}
    assert other == {"name": "qemu", "type": "raw", "copy_on_read": "on"}
    assert len(domain.findall("metadata/*")) == 1


def test_a_machine_like_any_other_does_not_run_from_backup() -> None:
    assert read_origin(parse(PLAIN)) is None
    assert unfinished(parse(PLAIN), ORIGIN) == []


def test_a_machine_made_of_a_point_of_one_on_backup_has_nothing_of_its_origin() -> None:
    plan = DiskPlan(name="vda", size_bytes=1 << 20, format="qcow2")
    places = NewPlaces(
        name="new", disks={"vda": (plan, Path("/new/vda"))}, nvram=None, directory=Path("/new"), networks={}
    )
    new = rewrite(on_backup().encode(), places)
    assert read_origin(new.xml) is None
    assert overlays_of(new.xml) == {}
    assert "/vm/web-vda.qcow2" not in new.text
    assert 'copy_on_read="on"' not in ET.tostring(new.xml.findall("devices/disk")[0], encoding="unicode")


@pytest.mark.parametrize("is_a_copy", [False, True])
def test_only_images_that_are_its_own_disks_are_removed_with_a_machine(tmp_path: Path, *, is_a_copy: bool) -> None:
    image = tmp_path / "web-vda.qcow2"
    image.write_bytes(b"overlay")
    definition = on_backup().replace("/vm/web-vda.qcow2", str(image))
    if is_a_copy:
        definition = definition.replace(f'<source file="{image}"', '<source file="/elsewhere/copy.qcow2"')
    machine = find_booted(FakeDomain(definition))
    assert machine is not None
    assert machine.discard() == ([] if is_a_copy else [image])
    assert image.exists() == is_a_copy


def test_the_memory_of_a_saved_machine_is_not_thrown_away_to_move_its_disks(tmp_path: Path) -> None:
    image = tmp_path / "web-vda.qcow2"
    image.write_bytes(b"overlay")
    domain = FakeDomain(on_backup().replace("/vm/web-vda.qcow2", str(image)), is_saved=True)
    machine = find_booted(domain)
    assert machine is not None
    with pytest.raises(RefusedError, match="saved with its memory") as refused:
        machine.move_home(None, Silence())
    assert "virsh --connect qemu:///somewhere managedsave-remove web" in refused.value.hint
    assert not domain.was_started


class FakeDomain:
    """A domain that is off."""

    def __init__(self, definition: str, *, is_saved: bool = False) -> None:
        self._definition = definition
        self._is_saved = is_saved
        self.was_started = False

    def connect(self) -> "FakeDomain":
        return self

    def getURI(self) -> str:  # noqa: N802 - libvirt's
        return "qemu:///somewhere"

    def hasManagedSaveImage(self) -> bool:  # noqa: N802 - libvirt's
        return self._is_saved

    def createWithFlags(self, _flags: int) -> None:  # noqa: N802 - libvirt's
        self.was_started = True

    def state(self) -> list[int]:
        return [libvirt.VIR_DOMAIN_SHUTOFF, 0]

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802 - libvirt's
        return self._definition

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's
        return "22222222-2222-2222-2222-222222222222"

    def name(self) -> str:
        return "web"

    def isActive(self) -> bool:  # noqa: N802 - libvirt's
        return False

    def undefineFlags(self, _flags: int) -> None:  # noqa: N802 - libvirt's
        """It is gone."""
