"""The definition of a machine of which only the disks are known, such as a physical one's images. Pure."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from string import ascii_lowercase

from holdfast.core.machine import Hardware
from holdfast.platforms.libvirt.domain_xml import AGENT_CHANNEL

_KIB = 1024


def plain_targets() -> Iterator[str]:
    """What the disks of such a machine are called, one after the other."""
    return (f"sd{letter}" for letter in ascii_lowercase)


def plain_definition(name: str, disks: Sequence[str], hardware: Hardware) -> bytes:
    """A Q35 machine with disks on these targets, on AHCI, which nearly every system knows; it boots the first."""
    domain = ET.Element("domain", type="qemu" if hardware.emulated else "kvm")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "memory", unit="KiB").text = str(hardware.memory_bytes // _KIB)
    ET.SubElement(domain, "vcpu").text = str(hardware.cpus)
    system = ET.SubElement(domain, "os", {"firmware": "efi"} if hardware.efi else {})
    ET.SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(domain, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    ET.SubElement(domain, "cpu", mode="maximum" if hardware.emulated else "host-passthrough")
    devices = ET.SubElement(domain, "devices")
    for disk in disks:
        device = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(device, "driver", name="qemu", type="raw", discard="unmap")
        ET.SubElement(device, "source", file=f"/{disk}")
        ET.SubElement(device, "target", dev=disk, bus="sata")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(devices, "video")
    ET.SubElement(devices, "graphics", type="vnc", autoport="yes")
    return ET.tostring(domain, encoding="unicode").encode()
