"""A further disk for a domain, running or off."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final

import libvirt

from holdfast.core.errors import RefusedError
from holdfast.core.ports import DiskPlan
from holdfast.platforms.files.target import TargetFile
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import parse, read_disks

_PREFIXES: Final = {"virtio": "vd", "ide": "hd", "fdc": "fd", "xen": "xvd"}  # all others: sd


class AddedDisk:
    """A NewDisk of a libvirt domain."""

    def __init__(self, domain: Any, target: TargetFile, device: ET.Element) -> None:
        self.machine_id = str(domain.UUIDString())
        self.target = target
        self.is_attached = False
        self._domain = domain
        self._device = device

    def attach(self) -> str:
        """Attach it, now and for good. Returns the name of its target."""
        name = self._domain.name()
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        with asking(f"attach {self.target.output} to {name}", hint="attach it while the machine is off"):
            if self._domain.isActive():
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            self._domain.attachDeviceFlags(ET.tostring(self._device, encoding="unicode"), flags)
        self.is_attached = True
        return self._device.find("target").attrib["dev"]  # type: ignore[union-attr]


@contextmanager
def add_disk(domain: Any, disk: DiskPlan, storage: Path | None) -> Iterator[AddedDisk]:
    """Make a file for a further disk of a domain."""
    with asking(f"read the definition of {domain.name()}"):
        definitions = [parse(domain.XMLDesc(flags)) for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]
    device = plan_device(definitions, disk.format)
    name = device.find("target").attrib["dev"]  # type: ignore[union-attr]
    path = _directory(domain.name(), definitions[1], storage) / f"{domain.name()}-{name}.{disk.format}"
    device.find("source").set("file", str(path))  # type: ignore[union-attr]
    target = TargetFile(path, disk.size_bytes, disk.format)
    added = AddedDisk(domain, target, device)
    try:
        yield added
    finally:
        if not added.is_attached:
            target.withdraw()


def plan_device(definitions: Sequence[ET.Element], image_format: str) -> ET.Element:
    """A disk that none of the definitions has, on the bus of the machine's first disk, virtio if there is none."""
    targets = [target for domain in definitions for target in domain.iterfind("devices/disk/target")]
    disks = [disk for disk in definitions[-1].iterfind("devices/disk") if disk.get("device", "disk") == "disk"]
    buses = [target.get("bus", "virtio") for disk in disks for target in disk.iterfind("target")]
    bus = buses[0] if buses else "virtio"
    taken = {target.get("dev", "") for target in targets}
    names = (_PREFIXES.get(bus, "sd") + _letters(number) for number in count())
    device = ET.Element("disk", type="file", device="disk")
    ET.SubElement(device, "driver", name="qemu", type=image_format)
    ET.SubElement(device, "source")
    ET.SubElement(device, "target", dev=next(name for name in names if name not in taken), bus=bus)
    return device


def _letters(number: int) -> str:
    """Letters as the kernel counts disks: a to z, aa to zz."""
    high, low = divmod(number, len(ascii_lowercase))
    return (_letters(high - 1) if high else "") + ascii_lowercase[low]


def _directory(machine: str, domain: ET.Element, storage: Path | None) -> Path:
    if storage is not None:
        return storage.absolute()
    places = [disk.path.parent for disk in read_disks(domain) if not disk.is_medium and disk.path is not None]
    if not places or places[0].is_relative_to("/dev"):
        raise RefusedError(
            f"{machine} has no disk in a file, beside which another could be", hint="say where: --storage DIR"
        )
    return places[0]
