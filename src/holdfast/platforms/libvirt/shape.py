"""What another hypervisor must know of a domain. Pure."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Final, get_args

from holdfast.core.errors import DamagedError
from holdfast.core.machine import DiskBus, MachineShape
from holdfast.platforms.libvirt.domain_xml import parse

_UNITS: Final[Mapping[str, int]] = {
    "b": 1,
    "bytes": 1,
    "KB": 1000,
    "k": 1024,
    "KiB": 1024,
    "MB": 1000**2,
    "M": 1024**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "G": 1024**3,
    "GiB": 1024**3,
    "TB": 1000**4,
    "T": 1024**4,
    "TiB": 1024**4,
}
_MIB: Final = 1024**2


def shape_of(definition: bytes) -> MachineShape:
    """The shape of a captured definition. Raises DamagedError for nonsense."""
    try:
        domain = parse(definition)
        memory = domain.find("memory")
        size = 0 if memory is None else int(memory.text or 0) * _UNITS[memory.get("unit", "KiB")]
        cpus = int(domain.findtext("vcpu", "1"))
    except (ET.ParseError, KeyError, ValueError) as error:
        raise DamagedError(f"the machine's definition in the point cannot be read: {error}") from error
    return MachineShape(
        name=domain.findtext("name", "machine"),
        cpus=cpus,
        memory_mib=-(-size // _MIB),
        efi=domain.find("os/loader[@type='pflash']") is not None or domain.find("os[@firmware='efi']") is not None,
        buses=dict(map(_bus, domain.iterfind("devices/disk/target"))),
        networks=tuple(map(_network, domain.iterfind("devices/interface/source"))),
    )


def _network(source: ET.Element) -> str:
    return source.get("network") or source.get("bridge") or source.get("dev") or "lan"


def _bus(target: ET.Element) -> tuple[str, DiskBus]:
    name, bus = target.get("dev", ""), target.get("bus", "")
    for known in get_args(DiskBus):
        if bus == known:
            return name, known
    return name, "virtio" if name.startswith("vd") else "sata"
