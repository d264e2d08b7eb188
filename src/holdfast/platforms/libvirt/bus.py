"""A disk on another bus: its place there, and what only the old one knew is taken out. Pure."""

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from holdfast.core.errors import UsageError

_Place = tuple[int, int, int]
"""Controller, bus of the controller, unit."""

_PARTS_OF_A_BUS: Final = frozenset({"address", "wwn", "vendor", "product"})
_SAID_TO_A_BUS: Final[Mapping[str, Collection[str]]] = {
    "target": ("rotation_rate", "removable"),
    "geometry": ("trans",),
    "driver": frozenset(
        {"queues", "queue_size", "iothread", "ioeventfd", "event_idx", "packed", "iommu", "ats", "page_per_vq"}
    ),
}
_ADDRESSES: Final[Mapping[str, Callable[[], Iterator[_Place]]]] = {
    "ide": lambda: ((0, bus, unit) for bus in range(2) for unit in range(2)),
    "sata": lambda: _places(6),
    "scsi": lambda: _places(7),
}
"""Where disks can be; on other buses libvirt finds a place. There is one IDE controller; the others can be more."""


def set_bus(domain: ET.Element, disk: ET.Element, bus: str) -> None:
    """Put a disk of this domain on a bus, where no other disk is. Raises UsageError if there is no room."""
    target = disk.find("target")
    if target is None or target.get("bus") == bus:
        return
    for part in [part for part in disk if part.tag in _PARTS_OF_A_BUS]:
        disk.remove(part)
    disk.attrib.pop("model", None)
    for part in disk:
        for name in _SAID_TO_A_BUS.get(part.tag, ()):
            part.attrib.pop(name, None)
    target.set("bus", bus)
    if bus in _ADDRESSES:
        _give_address(domain, disk, bus)


def _give_address(domain: ET.Element, disk: ET.Element, bus: str) -> None:
    """A place of its own; libvirt would go by the disk's name, whoever is there."""
    taken = {
        (int(address.get("controller", "0")), int(address.get("bus", "0")), int(address.get("unit", "0")))
        for other in domain.iterfind("devices/disk")
        if other is not disk and _bus_of(other) == bus and (address := other.find("address[@type='drive']")) is not None
    }
    place = next((free for free in _ADDRESSES[bus]() if free not in taken), None)
    if place is None:
        raise UsageError(f"there is no room for all disks on {bus}", hint="put some on another bus: --bus DISK=BUS")
    controller, channel, unit = map(str, place)
    ET.SubElement(disk, "address", type="drive", controller=controller, bus=channel, target="0", unit=unit)


def _places(units: int) -> Iterator[_Place]:
    return ((controller, 0, unit) for controller in itertools.count() for unit in range(units))


def _bus_of(disk: ET.Element) -> str | None:
    target = disk.find("target")
    return None if target is None else target.get("bus")
