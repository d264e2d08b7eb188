"""A definition from elsewhere is put right for this host, and each change is said."""

import xml.etree.ElementTree as ET

import pytest

from holdfast.core.machine import Hardware
from holdfast.platforms.libvirt.fit import Host, fit_controllers, fit_processor
from holdfast.platforms.libvirt.plain import plain_definition, plain_targets
from holdfast.platforms.libvirt.rewrite import Rewritten

HOST = Host.of(
    ET.fromstring(
        """<domainCapabilities><cpu><mode name='host-passthrough' supported='no'/>
        <mode name='maximum' supported='yes'/><mode name='host-model' supported='yes'/>
        <mode name='custom' supported='yes'><model usable='yes'>qemu64</model>
        <model usable='no'>EPYC</model></mode></cpu><devices><disk><enum name='bus'><value>ide</value>
        <value>virtio</value><value>sata</value></enum></disk></devices></domainCapabilities>"""
    )
)


def machine(cpu: str = "", disk: str = "", kind: str = "pc-q35-7.2") -> Rewritten:
    return Rewritten(
        xml=ET.fromstring(f"<domain><os><type machine='{kind}'>hvm</type></os>{cpu}<devices>{disk}</devices></domain>")
    )


@pytest.mark.parametrize(
    "cpu",
    [
        "<cpu mode='custom'><model>EPYC</model><feature name='x'/><topology sockets='2'/></cpu>",
        "<cpu mode='host-passthrough'/>",
    ],
)
def test_a_processor_that_the_host_has_not_becomes_one_that_it_has(cpu: str) -> None:
    new = machine(cpu)
    fit_processor(new, HOST)
    found = new.xml.find("cpu")
    assert found is not None
    assert found.attrib == {"mode": "host-model"}
    assert [child.tag for child in found] == (["topology"] if "topology" in cpu else [])
    assert len(new.warnings) == 1


@pytest.mark.parametrize(
    "cpu", ["", "<cpu mode='custom'><model>qemu64</model></cpu>", "<cpu mode='maximum'/>", "<cpu/>"]
)
def test_a_processor_that_the_host_has_stays(cpu: str) -> None:
    new = machine(cpu)
    before = new.text
    fit_processor(new, HOST)
    assert (new.text, new.warnings) == (before, [])


@pytest.mark.parametrize(
    ("bus", "kind", "expected"),
    [("ide", "pc-q35-7.2", "sata"), ("ide", "pc-i440fx-7.2", "ide"), ("usb", "pc", "ide"), ("virtio", "q35", "virtio")],
)
def test_a_disk_goes_on_a_controller_that_there_is(bus: str, kind: str, expected: str) -> None:
    new = machine(disk=f"<disk><target dev='sda' bus='{bus}'/><address type='pci'/></disk>", kind=kind)
    fit_controllers(new, HOST)
    (target,) = new.xml.iterfind("devices/disk/target")
    assert target.get("bus") == expected
    assert bool(new.warnings) == (bus != expected) == (new.xml.find("devices/disk/address[@type='pci']") is None)


def test_a_machine_of_disks_only_boots_its_first_on_ahci() -> None:
    names = [name for name, _ in zip(plain_targets(), "ab", strict=False)]
    hardware = Hardware(memory_bytes=2 << 30, cpus=3, efi=True, emulated=True)
    domain = ET.fromstring(plain_definition("nas", names, hardware))
    assert domain.get("type") == "qemu"
    assert [(disk.get("dev"), disk.get("bus")) for disk in domain.iterfind("devices/disk/target")] == [
        ("sda", "sata"),
        ("sdb", "sata"),
    ]
    assert (domain.findtext("memory"), domain.findtext("vcpu")) == ("2097152", "3")
    assert domain.find("os[@firmware='efi']/boot[@dev='hd']") is not None
