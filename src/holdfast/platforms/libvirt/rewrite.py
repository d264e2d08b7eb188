"""The definition of a recovered machine: the captured one, made to live beside its original. Pure.

What names something that only one machine can have (identity, addresses, files, sockets, ports) is made new or left
for libvirt to make; everything else stays as it was. What a machine would share with its original by accident, such
as a shared disk that is not part of the point, is taken out rather than attached to two machines.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from holdfast.core.errors import DamagedError, UsageError
from holdfast.core.ports import DiskPlan
from holdfast.platforms.libvirt.bus import set_bus
from holdfast.platforms.libvirt.domain_xml import has_qemu_arguments, memory_in_files, parse, places_of, read_disks
from holdfast.platforms.libvirt.on_backup import make_like_any_other

_NETWORK_KEYS = {"network": "network", "bridge": "bridge", "direct": "dev"}  # interface type: attribute of its source


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPlaces:
    """Where the recovered machine's things are. `directory` takes the small files that the definition names.

    `buses` are the disks' controllers ("" = all) where they are not to stay as they were.
    """

    name: str
    disks: Mapping[str, tuple[DiskPlan, Path]]
    nvram: Path | None
    directory: Path
    networks: Mapping[str, str]
    buses: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Rewritten:
    """The new definition, further files that the machine will make, and what the user must know."""

    xml: ET.Element
    files: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """As libvirt takes it."""
        return ET.tostring(self.xml, encoding="unicode")


def rewrite(definition: bytes, places: NewPlaces) -> Rewritten:
    """Rewrite a captured definition. Raises UsageError for a network it does not have, DamagedError for nonsense."""
    try:
        new = Rewritten(xml=parse(definition))
    except ET.ParseError as error:
        raise DamagedError(f"the machine's definition in the point cannot be read: {error}") from error
    steps: Sequence[Callable[[Rewritten, NewPlaces], None]] = (
        _identity,
        _disks,
        _shared_storage,
        _firmware,
        _interfaces,
        _character_devices,
        _graphics,
        _one_of_a_kind,
    )
    for step in steps:
        step(new, places)
    return new


def connect_interfaces(domain: ET.Element, networks: Mapping[str, str]) -> None:
    """Connect network cards elsewhere: `networks` maps networks, bridges or devices of the host to others.

    Raises UsageError if it names one that no card is connected to.
    """
    known: set[str] = set()
    for interface in domain.iterfind("devices/interface"):
        source, key = interface.find("source"), _NETWORK_KEYS.get(interface.get("type", ""))
        if source is None or key is None:
            continue
        source.attrib.pop("portid", None)
        old = source.get(key, "")
        known.add(old)
        source.set(key, networks.get(old, old))
    if unknown := sorted(set(networks) - known):
        raise UsageError(
            f"the machine has no network {', '.join(unknown)}",
            hint=f"its networks: {', '.join(sorted(known)) or 'none'}",
        )


def _identity(new: Rewritten, places: NewPlaces) -> None:
    name = new.xml.find("name")
    if name is None:
        raise DamagedError("the machine's definition in the point has no name")
    name.text = places.name
    make_like_any_other(new.xml)  # one that ran from backup: its overlays are not the new machine's
    _remove_children(new.xml, "uuid")
    for system in new.xml.iterfind("sysinfo/system"):
        _remove_children(system, "entry", lambda entry: entry.get("name") == "uuid")  # must equal the domain's own
    if (generation := new.xml.find("genid")) is not None:
        generation.text = None  # libvirt makes a new one, which tells the guest that it has gone back in time


def _disks(new: Rewritten, places: NewPlaces) -> None:
    devices = new.xml.find("devices")
    elements = [] if devices is None else devices.findall("disk")
    listed = list(zip(elements, read_disks(new.xml), strict=True))
    missing = set(places.disks) - {disk.name for _, disk in listed}
    if devices is None or missing:
        raise DamagedError(f"the machine's definition in the point lacks its disks {', '.join(sorted(missing))}")
    for element, disk in listed:
        if disk.name in places.disks:
            give_new_image(element, *places.disks[disk.name], new)
            if bus := places.buses.get(disk.name) or places.buses.get(""):
                set_bus(new.xml, element, bus)
        elif disk.is_medium:
            if (source := element.find("source")) is not None:
                source.set("startupPolicy", "optional")  # the medium may not be on this host
        elif disk.shareable or not disk.readonly:
            devices.remove(element)
            new.warnings.append(f"disk {disk.name} ({disk.place}) is not part of the point and was left out")
        else:
            new.warnings.append(
                f"disk {disk.name} is not part of the point; {disk.place} itself is attached, read-only"
            )


def give_new_image(element: ET.Element, disk: DiskPlan, path: Path, new: Rewritten) -> None:
    """Let a `<disk>` be this image in a file, whatever it was before."""
    old = element.find("source")
    if element.find("encryption") is not None or (old is not None and old.find("encryption") is not None):
        new.warnings.append(f"disk {disk.name} was encrypted by QEMU; the point holds it in plain, and so does {path}")
    for tag in ("source", "backingStore", "mirror", "encryption", "auth"):
        _remove_children(element, tag)
    element.set("type", "file")
    ET.SubElement(element, "source", file=str(path))
    driver = element.find("driver")
    if driver is None:
        driver = ET.SubElement(element, "driver", name="qemu")
    driver.set("type", disk.format)


def give_new_variables(nvram: ET.Element, path: Path | None) -> None:
    """Let an `<nvram>` be this file, whatever it was before; without one libvirt makes it of the template."""
    _remove_children(nvram, "source")
    nvram.attrib.pop("type", None)
    nvram.text = None if path is None else str(path)


def _shared_storage(new: Rewritten, _: NewPlaces) -> None:
    """Take out what two machines would write to at once: directories of the host, and memory kept in its files."""
    devices = new.xml.find("devices")
    shared = [*new.xml.iterfind("devices/filesystem"), *memory_in_files(new.xml)]
    for place in places_of(shared):
        new.warnings.append(f"{place} is not part of the point, belongs to the original, and was left out")
    for element in shared:
        assert devices is not None
        devices.remove(element)


def _firmware(new: Rewritten, places: NewPlaces) -> None:
    if (nvram := new.xml.find("os/nvram")) is not None:
        give_new_variables(nvram, places.nvram)


def _interfaces(new: Rewritten, places: NewPlaces) -> None:
    for interface in new.xml.iterfind("devices/interface"):
        _remove_children(interface, "mac")
    connect_interfaces(new.xml, places.networks)


def _character_devices(new: Rewritten, places: NewPlaces) -> None:
    """Logs and sockets get new paths, one for each old one: a console names its serial port's file once more."""
    for tag in ("serial", "parallel", "console", "channel"):
        for device in new.xml.iterfind(f"devices/{tag}"):
            if (log := device.find("log")) is not None and log.get("file"):
                log.set("file", _moved(log.attrib["file"], new, places))
            match device.get("type"):
                case "unix" if tag == "channel":
                    _remove_children(device, "source")  # libvirt chooses one
                case "file" | "unix":
                    for source in device.iterfind("source[@path]"):
                        source.set("path", _moved(source.attrib["path"], new, places))
                case "pty":
                    _remove_children(device, "source")
                case "tcp" | "udp" | "pipe" as kind if tag != "channel" and _is_taken_already(kind, device):
                    new.warnings.append(f"a {tag} device of {places.name} is a pty instead of a {kind} that is taken")
                    device.set("type", "pty")
                    _remove_children(device, "source")
                    _remove_children(device, "protocol")


def _moved(path: str, new: Rewritten, places: NewPlaces) -> str:
    """The new path for an old one; no two old ones get the same."""
    if path not in new.files:
        names = chain([""], (f"-{number}" for number in count(2)))
        wanted = (places.directory / f"{places.name}-{Path(path).name}{suffix}" for suffix in names)
        new.files[path] = next(free for free in wanted if free not in new.files.values())
    return str(new.files[path])


def _is_taken_already(kind: str, device: ET.Element) -> bool:
    """Whether only one machine can have what a device listens at: a port, or a pair of pipes."""
    return kind == "pipe" or any(source.get("mode") == "bind" for source in device.iterfind("source"))


def _graphics(new: Rewritten, places: NewPlaces) -> None:
    for display in new.xml.iterfind("devices/graphics"):
        if display.get("autoport") != "yes" and display.get("port", "-1") != "-1":
            kind, port = display.get("type"), display.get("port")
            new.warnings.append(f"the {kind} display of {places.name} takes any free port instead of {port}")
            for key in ("port", "tlsPort", "websocket"):
                display.attrib.pop(key, None)
            display.set("autoport", "yes")
        display.attrib.pop("socket", None)
        for listen in display.iterfind("listen[@type='socket']"):
            listen.attrib.pop("socket", None)


def _one_of_a_kind(new: Rewritten, places: NewPlaces) -> None:
    for cid in new.xml.iterfind("devices/vsock/cid"):
        if cid.get("auto") != "yes":
            new.warnings.append(f"{places.name} gets a new vsock address instead of {cid.get('address')}")
        cid.attrib.pop("address", None)
        cid.set("auto", "yes")
    if new.xml.find("devices/tpm") is not None:
        new.warnings.append(f"{places.name} gets an empty TPM: what the original's holds is not part of the point")
    if new.xml.find("devices/hostdev") is not None:
        new.warnings.append(f"{places.name} uses devices of the host, which only one running machine can have")
    if has_qemu_arguments(new.xml):
        new.warnings.append(
            f"{places.name} keeps its own arguments for QEMU (qemu:commandline); see that they name nothing of the "
            "original's"
        )


def _remove_children(parent: ET.Element, tag: str, wanted: Callable[[ET.Element], bool] = lambda _: True) -> None:
    for child in parent.findall(tag):
        if wanted(child):
            parent.remove(child)
