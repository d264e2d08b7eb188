"""A disk is put on another bus: where no other is, and without what only the old bus knew."""

import xml.etree.ElementTree as ET

import pytest

from holdfast.core.errors import UsageError
from holdfast.platforms.libvirt.bus import set_bus

MEDIUM = """<disk device='cdrom'><target dev='sda' bus='sata'/>
    <address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>"""


def disk(name: str, bus: str = "virtio", more: str = "") -> str:
    return f"<disk device='disk'><driver name='qemu'/><target dev='{name}' bus='{bus}'/>{more}</disk>"


def domain(*devices: str) -> ET.Element:
    return ET.fromstring(f"<domain><devices>{''.join(devices)}</devices></domain>")


def put_all_on(xml: ET.Element, bus: str) -> list[tuple[str, str, str]]:
    """Each disk's controller, channel and unit."""
    for each in xml.iterfind("devices/disk[@device='disk']"):
        set_bus(xml, each, bus)
    addresses = [address.attrib for address in xml.iterfind("devices/disk/address")]
    return [(address["controller"], address["bus"], address["unit"]) for address in addresses]


def test_a_disk_gets_a_place_that_no_drive_has() -> None:
    """Libvirt goes by the disk's name: vda would be where the drive sda is."""
    places = put_all_on(domain(disk("vda"), MEDIUM, disk("vdb")), "sata")
    assert places == [("0", "0", "1"), ("0", "0", "0"), ("0", "0", "2")]


def test_a_further_controller_follows_a_full_one() -> None:
    places = put_all_on(domain(*(disk(f"vd{letter}") for letter in "abcdefgh")), "sata")
    assert places[5:] == [("0", "0", "5"), ("1", "0", "0"), ("1", "0", "1")]


def test_five_disks_have_no_room_on_the_one_ide_controller() -> None:
    assert len(put_all_on(domain(*(disk(f"vd{letter}") for letter in "abcd")), "ide")) == 4
    with pytest.raises(UsageError, match="no room for all disks on ide"):
        put_all_on(domain(*(disk(f"vd{letter}") for letter in "abcde")), "ide")


def test_what_only_the_old_bus_knew_is_taken_out() -> None:
    xml = ET.fromstring(
        """<domain><devices><disk device='disk' model='virtio-transitional'>
        <driver name='qemu' type='raw' discard='unmap' queues='2' iothread='1' ioeventfd='on' packed='on'/>
        <target dev='vda' bus='virtio' rotation_rate='1'/><serial>x</serial><wwn>5000c50015ea71ad</wwn>
        <address type='pci' slot='4'/></disk></devices></domain>"""
    )
    put_all_on(xml, "sata")
    expected = ET.fromstring(
        """<disk device='disk'><driver name='qemu' type='raw' discard='unmap'/><target dev='vda' bus='sata'/>
        <serial>x</serial><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>"""
    )
    (got,) = xml.iterfind("devices/disk")
    assert as_lists(got) == as_lists(expected)


def test_a_disk_that_is_there_already_keeps_its_place() -> None:
    xml = domain(disk("vda", more="<address type='pci' slot='4'/>"))
    before = ET.tostring(xml)
    for each in xml.iterfind("devices/disk"):
        set_bus(xml, each, "virtio")
    assert ET.tostring(xml) == before


def as_lists(element: ET.Element) -> list[object]:
    return [element.tag, element.attrib, (element.text or "").strip(), [as_lists(child) for child in element]]
