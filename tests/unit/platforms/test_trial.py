"""The definition of a machine on trial, its screen, and its memory."""

import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import pytest

from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.libvirt.isolation import count_cards, has_screen, isolate
from holdfast.platforms.libvirt.screen import png_of, screen_text
from holdfast.platforms.libvirt.trial import memory_of

DEFINITION = """
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name><uuid>8f1b0f5e-7d0c-4b3a-9f7c-0b8f1c0c5a11</uuid>
  <memory unit='MiB'>512</memory><cputune><vcpupin vcpu='0' cpuset='1'/></cputune><on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' io='native'/>
      <source file='/trial/vda.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/iso'/><target dev='sda'/>
      <readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><vlan><tag id='7'/></vlan>
      <model type='virtio'/><bandwidth/><filterref filter='clean-traffic'/></interface>
    <interface type='direct'><source dev='eth0' mode='vepa'/><model type='e1000'/></interface>
    <serial type='tcp'><source mode='connect' host='10.0.0.1' service='2445'/><protocol type='telnet'/></serial>
    <serial type='pty'/><console type='pty'/><graphics type='vnc' listen='0.0.0.0' port='5901'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <hostdev mode='subsystem' type='pci'/><redirdev bus='usb' type='tcp'/><shmem name='shared'/>
    <video><model type='virtio'/></video>
  </devices>
  <qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='user,id=out'/></qemu:commandline>
</domain>
"""


def isolated() -> ET.Element:
    domain = parse(DEFINITION)
    isolate(domain, ports=[(4001, 4002), (4003, 4004)], socket=Path("/run/x.nbd"), console=Path("/trial/console"))
    return domain


DOORS = """
    <disk type='file' device='floppy'><source file='/floppy'/><target dev='fda'/></disk>
    <rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='10.0.0.2'/></backend></rng>
    <tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
    <input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>
    <input type='evdev'><source dev='/dev/input/event2'/></input>
    <pstore backend='acpi-erst'><path>/pstore</path></pstore>
"""
FAR_AGENT = """<channel type='tcp'><source mode='connect' host='10.0.0.3' service='5'/><protocol type='raw'/>
    <log file='/agent.log'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"""
KEPT = """<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><input type='tablet' bus='usb'/>"""


def test_what_is_written_or_asked_elsewhere_is_taken_away_too() -> None:
    domain = parse(DEFINITION.replace("<video>", f"{DOORS}{FAR_AGENT}{KEPT}<video>"))
    isolate(domain, ports=[(4001, 4002), (4003, 4004)], socket=Path("/run/x.nbd"), console=Path("/trial/console"))
    text = ET.tostring(domain, encoding="unicode")
    for place in ("/floppy", "10.0.0.2", "/dev/tpm0", "/dev/input", "/pstore", "10.0.0.3", "/agent.log"):
        assert place not in text
    assert {each.get("type") for each in domain.findall("devices/channel")} == {"unix"}
    assert [len(domain.findall(f"devices/{kept}")) for kept in ("rng", "tpm", "input", "disk")] == [1, 1, 1, 2]


def test_nothing_that_leads_out_of_the_machine_is_left() -> None:
    text = ET.tostring(isolated(), encoding="unicode")
    for word in (
        "br0",
        "eth0",
        "10.0.0.1",
        "0.0.0.0",
        "user,id=out",
        "spice",
        "redirdev",
        "hostdev",
        "shmem",
        "vcpupin",
    ):
        assert word not in text
    assert "8f1b0f5e" not in text


def test_each_card_is_plugged_into_a_port_of_its_own_on_this_host() -> None:
    cards = isolated().findall("devices/interface")
    assert [card.get("type") for card in cards] == ["udp", "udp"]
    assert [(card.find("source").attrib, card.find("source/local").attrib) for card in cards] == [  # type: ignore[union-attr]
        ({"address": "127.0.0.1", "port": str(remote)}, {"address": "127.0.0.1", "port": str(own)})
        for own, remote in [(4001, 4002), (4003, 4004)]
    ]
    assert [card.find("model").get("type") for card in cards] == ["virtio", "e1000"]  # type: ignore[union-attr]
    assert count_cards(parse(DEFINITION)) == 2


def test_only_its_own_disks_stand_on_what_is_served_and_throw_away_what_is_written() -> None:
    disk, medium = isolated().findall("devices/disk")
    assert disk.find("backingStore/source/host").get("socket") == "/run/x.nbd"  # type: ignore[union-attr]
    driver = disk.find("driver")
    assert driver is not None
    assert driver.attrib == {"name": "qemu", "type": "qcow2", "cache": "unsafe", "error_policy": "enospace"}
    assert medium.find("backingStore") is None


def test_the_first_serial_port_prints_to_the_console_and_others_to_nobody() -> None:
    first, second = isolated().findall("devices/serial")
    assert (first.get("type"), first.find("source").get("path")) == ("file", "/trial/console")  # type: ignore[union-attr]
    assert second.get("type") == "null"


def test_only_the_agent_s_channel_stays() -> None:
    channels = isolated().findall("devices/channel/target")
    assert [each.get("name") for each in channels] == ["org.qemu.guest_agent.0"]


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("<memory>2048</memory>", 2 << 20),
        ("<memory unit='KiB'>2048</memory>", 2 << 20),
        ("<memory unit='GiB'>2</memory>", 2 << 30),
        ("<memory unit='G'>2</memory>", 2 << 30),
        ("<memory unit='MB'>2</memory>", 2_000_000),
        ("<memory unit='b'>4096</memory>", 4096),
        ("<memory>much</memory>", 0),
        ("", 0),
    ],
)
def test_memory_is_what_the_definition_says(memory: str, size: int) -> None:
    assert memory_of(parse(f"<domain>{memory}</domain>")) == size


def test_a_machine_without_a_screen_has_no_picture() -> None:
    assert has_screen(parse(DEFINITION))
    assert not has_screen(parse("<domain><devices><video><model type='none'/></video></devices></domain>"))
    assert not has_screen(parse("<domain><devices/></domain>"))


def test_a_portable_pixmap_becomes_the_same_picture_as_png() -> None:
    pixels = bytes(range(18))
    png = png_of(b"P6\n3 2\n255\n" + pixels)
    assert png is not None
    assert struct.unpack(">II", png[16:24]) == (3, 2)
    data = png.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", png[data - 8 : data - 4])
    assert zlib.decompress(png[data : data + length]) == b"\0" + pixels[:9] + b"\0" + pixels[9:]


@pytest.mark.parametrize("nonsense", [b"", b"P6\n3 2\n255\n" + bytes(17), b"P5\n1 1\n255\n0", b"P6\n0 1\n255\n"])
def test_what_is_no_pixmap_becomes_no_picture(nonsense: bytes) -> None:
    assert png_of(nonsense) is None


def test_text_memory_reads_as_the_lines_on_the_screen() -> None:
    cells = [0x0700 | ord(letter) for letter in "No bootable device.".ljust(160)] + [0x07DB]
    dump = "\n".join(f"00000000000b{8000 + at:04x}: 0x{cell:04x}" for at, cell in enumerate(cells))
    assert screen_text(dump) == "No bootable device."
    assert screen_text("unknown command: 'xp'") == ""
