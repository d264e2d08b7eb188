"""What this host can run of a definition that comes from elsewhere, put right and said. Pure, but for `look_at`."""

import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import libvirt

from holdfast.platforms.libvirt.bus import set_bus
from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.libvirt.rewrite import Rewritten

_FAMILIES: Final[Mapping[str, str]] = {"pc-q35-": "q35", "pc-i440fx-": "pc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a host offers to machines of one architecture, kind of machine and kind of virtualisation."""

    modes: Collection[str]
    models: Collection[str]
    buses: Collection[str]

    @classmethod
    def of(cls, capabilities: ET.Element) -> "Host":
        """What libvirt's domain capabilities say."""
        modes = {mode.get("name", "") for mode in capabilities.iterfind("cpu/mode[@supported='yes']")}
        models = capabilities.iterfind("cpu/mode[@name='custom']/model[@usable='yes']")
        buses = capabilities.iterfind("devices/disk/enum[@name='bus']/value")
        return cls(
            modes=frozenset(modes),
            models=frozenset(model.text or "" for model in models),
            buses=frozenset(bus.text or "" for bus in buses),
        )


def fit(connection: Any, new: Rewritten) -> None:
    """Put right what the host cannot run: kind of machine, processor, disk controllers. Each change is a warning."""
    kind = new.xml.find("os/type")
    if kind is None:
        return
    for attempt in (_as_it_is, _other_machine, _emulated):
        attempt(new, kind)
        if (host := _look_at(connection, new.xml, kind)) is not None:
            fit_processor(new, host)
            fit_controllers(new, host)
            return


def fit_processor(new: Rewritten, host: Host) -> None:
    """A processor that the host does not have becomes the nearest that it has."""
    cpu = new.xml.find("cpu")
    if cpu is None:
        return
    mode, model = cpu.get("mode", "custom"), (cpu.findtext("model") or "").strip()
    if mode in host.modes and (mode != "custom" or not model or model in host.models):
        return
    instead = next((known for known in ("host-model", "maximum") if known in host.modes), None)
    if instead is None:
        return
    new.warnings.append(f"this host has no processor {model or mode}; the machine gets what it has ({instead})")
    for child in list(cpu):
        if child.tag in {"model", "vendor", "feature"}:
            cpu.remove(child)
    cpu.attrib = {"mode": instead}


def fit_controllers(new: Rewritten, host: Host) -> None:
    """A disk on a bus that the host does not offer, or this kind of machine does not have, goes on SATA or IDE."""
    kind = new.xml.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    instead = "sata" if "q35" in machine else "ide"
    for disk in new.xml.iterfind("devices/disk"):
        target = disk.find("target")
        bus = "" if target is None else target.get("bus", "")
        if target is None or not bus or (bus in host.buses and not (bus == "ide" and instead == "sata")):
            continue
        new.warnings.append(f"disk {target.get('dev')} is on {instead}, since a machine here has no {bus}")
        set_bus(new.xml, disk, instead)


def _look_at(connection: Any, domain: ET.Element, kind: ET.Element) -> Host | None:
    """None if the host has no such machines."""
    emulator = (domain.findtext("devices/emulator") or "").strip() or None
    try:
        said = connection.getDomainCapabilities(emulator, kind.get("arch"), kind.get("machine"), domain.get("type"))
    except libvirt.libvirtError:
        return None
    return Host.of(parse(said))


def _as_it_is(_new: Rewritten, _kind: ET.Element) -> None:
    """Perhaps nothing is to be done."""


def _other_machine(new: Rewritten, kind: ET.Element) -> None:
    """The same kind of machine in this host's own version."""
    machine = kind.get("machine", "")
    family = next((known for prefix, known in _FAMILIES.items() if machine.startswith(prefix)), machine)
    if family != machine:
        new.warnings.append(f"this host has no machine {machine}; it becomes {family}, which the guest may notice")
        kind.set("machine", family)


def _emulated(new: Rewritten, _kind: ET.Element) -> None:
    if new.xml.get("type") == "kvm":
        new.warnings.append("this host has no KVM; the machine is emulated, and slow")
        new.xml.set("type", "qemu")
