"""The descriptor of an appliance. Pure. Source: DMTF DSP0243 (OVF 1.1.1), and CIM's resource types."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from holdfast.core.machine import DiskBus, MachineShape

_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_RASD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_VMW: Final = "http://www.vmware.com/schema/ovf"
_FORMAT: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_CPU, _MEMORY, _IDE, _SCSI, _NETWORK, _DISK, _OTHER_STORAGE = "3", "4", "5", "6", "10", "17", "20"
_CONTROLLERS: Final[Mapping[DiskBus, tuple[str, str]]] = {
    "virtio": (_OTHER_STORAGE, "AHCI"),  # nobody else has virtio; most guests that boot from it know AHCI too
    "sata": (_OTHER_STORAGE, "AHCI"),
    "scsi": (_SCSI, "lsilogic"),
    "ide": (_IDE, "PIIX4"),
}
_OTHER_64_BIT: Final = "102"

for _prefix, _uri in (("ovf", _OVF), ("rasd", _RASD), ("vssd", _VSSD), ("vmw", _VMW)):
    ET.register_namespace(_prefix, _uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedDisk:
    """A disk of the appliance: its file and that file's size, and the disk's."""

    name: str
    file: str
    file_bytes: int
    size_bytes: int


def describe(shape: MachineShape, disks: Sequence[PackedDisk]) -> bytes:
    """The descriptor as XML."""
    envelope = ET.Element(_ovf("Envelope"))
    references = ET.SubElement(envelope, _ovf("References"))
    listed = _section(envelope, "DiskSection", "The machine's disks")
    for number, disk in enumerate(disks):
        ET.SubElement(
            references,
            _ovf("File"),
            {_ovf("id"): f"file{number}", _ovf("href"): disk.file, _ovf("size"): str(disk.file_bytes)},
        )
        ET.SubElement(
            listed,
            _ovf("Disk"),
            {
                _ovf("diskId"): f"disk{number}",
                _ovf("fileRef"): f"file{number}",
                _ovf("capacity"): str(disk.size_bytes),
                _ovf("capacityAllocationUnits"): "byte",
                _ovf("format"): _FORMAT,
            },
        )
    networks = _section(envelope, "NetworkSection", "The machine's networks")
    for network in dict.fromkeys(shape.networks):
        ET.SubElement(
            ET.SubElement(networks, _ovf("Network"), {_ovf("name"): network}), _ovf("Description")
        ).text = network
    _system(envelope, shape, disks)
    ET.indent(envelope)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(envelope, encoding="unicode").encode()


def _system(envelope: ET.Element, shape: MachineShape, disks: Sequence[PackedDisk]) -> None:
    system = ET.SubElement(envelope, _ovf("VirtualSystem"), {_ovf("id"): shape.name})
    ET.SubElement(system, _ovf("Info")).text = "A virtual machine"
    ET.SubElement(system, _ovf("Name")).text = shape.name
    guest = _section(system, "OperatingSystemSection", "The guest's operating system, which is not known")
    guest.set(_ovf("id"), _OTHER_64_BIT)
    hardware = _section(system, "VirtualHardwareSection", "What the machine is made of")
    settings = ET.SubElement(hardware, _ovf("System"))
    kinds = (("ElementName", "Virtual Hardware Family"), ("InstanceID", "0"))
    for tag, text in (*kinds, ("VirtualSystemIdentifier", shape.name), ("VirtualSystemType", "vmx-10")):
        ET.SubElement(settings, f"{{{_VSSD}}}{tag}").text = text
    for fields in _items(shape, disks):
        item = ET.SubElement(hardware, _ovf("Item"))
        for tag in sorted(fields):  # the schema wants them in the order of the alphabet
            ET.SubElement(item, f"{{{_RASD}}}{tag}").text = fields[tag]
    if shape.efi:
        firmware = {_ovf("required"): "false", f"{{{_VMW}}}key": "firmware", f"{{{_VMW}}}value": "efi"}
        ET.SubElement(hardware, f"{{{_VMW}}}Config", firmware)


def _items(shape: MachineShape, disks: Sequence[PackedDisk]) -> Iterator[dict[str, str]]:
    ids = count(1)
    yield _item(ids, f"{shape.cpus} processors", _CPU, AllocationUnits="hertz * 10^6", VirtualQuantity=str(shape.cpus))
    memory = str(shape.memory_mib)
    yield _item(ids, f"{memory} MiB of memory", _MEMORY, AllocationUnits="byte * 2^20", VirtualQuantity=memory)
    controllers: dict[DiskBus, str] = {}
    places = {bus: count() for bus in _CONTROLLERS}
    for number, disk in enumerate(disks):
        bus = shape.buses.get(disk.name, "sata")
        if bus not in controllers:
            kind, model = _CONTROLLERS[bus]
            controller = _item(ids, f"{model} controller", kind, Address="0", ResourceSubType=model)
            controllers[bus] = controller["InstanceID"]
            yield controller
        place = {"AddressOnParent": str(next(places[bus])), "Parent": controllers[bus]}
        yield _item(ids, f"disk {disk.name}", _DISK, HostResource=f"ovf:/disk/disk{number}", **place)
    for network in shape.networks:
        card = {"AutomaticAllocation": "true", "Connection": network, "ResourceSubType": "E1000"}
        yield _item(ids, f"network card on {network}", _NETWORK, **card)


def _item(ids: Iterator[int], name: str, kind: str, **more: str) -> dict[str, str]:
    return {"ElementName": name, "InstanceID": str(next(ids)), "ResourceType": kind, **more}


def _section(parent: ET.Element, tag: str, info: str) -> ET.Element:
    section = ET.SubElement(parent, _ovf(tag))
    ET.SubElement(section, _ovf("Info")).text = info
    return section


def _ovf(tag: str) -> str:
    return f"{{{_OVF}}}{tag}"
