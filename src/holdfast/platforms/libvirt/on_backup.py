"""The definition of a machine that runs from backup. Pure.

Its disks are overlays, and the chain below them is written out, so that nobody has to read it from the images: an NBD
server of ours, whose absence QEMU bears for a while, and for longer pauses the machine instead of telling it of errors.
What is fetched from below is kept in the overlay, so that it is asked for once.

Where it came from is kept in the definition's metadata, which goes wherever the definition goes.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from holdfast.core.boot import Origin
from holdfast.platforms.files.overlay import RECONNECT_S
from holdfast.platforms.libvirt.domain_xml import nvram_file, parse

NAMESPACE: Final = "urn:holdfast:boot:1"
_ORIGIN: Final = f"{{{NAMESPACE}}}origin"
_DISK: Final = f"{{{NAMESPACE}}}disk"
_FORMER: Final = f"{{{NAMESPACE}}}former"
_MADE: Final = f"{{{NAMESPACE}}}made"
_POLICIES: Final = {"error_policy": "stop", "rerror_policy": "stop", "copy_on_read": "on"}

ET.register_namespace("holdfast", NAMESPACE)


def run_from_backup(
    domain: ET.Element, identity: str, origin: Origin, checkpoint: str, overlays: Mapping[str, Path]
) -> None:
    """Make a definition, whose disks are the `overlays` already, that of a machine that runs from backup."""
    name = domain.find("name")
    assert name is not None
    _remove(domain, "uuid")
    uuid = ET.Element("uuid")
    uuid.text = identity
    domain.insert(list(domain).index(name) + 1, uuid)
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(domain, "metadata")
    _remove(metadata, _ORIGIN)
    element = ET.SubElement(metadata, _ORIGIN, {**_attributes(origin), "checkpoint": checkpoint})
    for disk in domain.iterfind("devices/disk"):
        if (target := _target(disk)) in overlays:
            ET.SubElement(element, _DISK, {"name": target, "file": str(overlays[target]), **_stand_on(disk, origin)})


def read_origin(domain: ET.Element) -> Origin | None:
    """Where a machine came from, if it runs from backup."""
    element = domain.find(f"metadata/{_ORIGIN}")
    if element is None:
        return None
    said = element.attrib
    return Origin(
        repository=said["repository"],
        point=said["point"],
        machine=said["machine"],
        born_at=datetime.fromisoformat(said["born"]),
        socket=Path(said["socket"]),
    )


def checkpoint_of(domain: ET.Element) -> str:
    """The name of the marks in those images that were made with them."""
    element = domain.find(f"metadata/{_ORIGIN}")
    return "" if element is None else element.get("checkpoint", "")


def overlays_of(domain: ET.Element) -> dict[str, Path]:
    """The images, by disk, that were made for a machine to run from backup."""
    return {disk.attrib["name"]: Path(disk.attrib["file"]) for disk in domain.iterfind(f"metadata/{_ORIGIN}/{_DISK}")}


def remember(domain: ET.Element, former: Sequence[ET.Element]) -> None:
    """Keep those parts of a definition, `disk` and `nvram`, that others stand in for.

    They are this machine's: a copy of it takes its metadata along, and must never get them.
    """
    element = domain.find(f"metadata/{_ORIGIN}")
    assert element is not None, "it runs from backup"
    ET.SubElement(element, _FORMER, {"of": domain.findtext("uuid", "")}).extend(former)


def list_files(domain: ET.Element, files: Iterable[Path]) -> None:
    """Say which files beside the overlays are made for this machine, not for a copy of it, and go with it."""
    element = domain.find(f"metadata/{_ORIGIN}")
    assert element is not None, "it runs from backup"
    for path in files:
        ET.SubElement(element, _MADE, {"of": domain.findtext("uuid", ""), "file": str(path)})


def listed_files(domain: ET.Element) -> list[Path]:
    """The files that `list_files` said of this very machine."""
    made = domain.iterfind(f"metadata/{_ORIGIN}/{_MADE}[@of='{domain.findtext('uuid')}']")
    return [Path(element.attrib["file"]) for element in made]


def former_nvram(domain: ET.Element) -> Path | None:
    """Where the firmware variables are for which others stand in."""
    return next(filter(None, map(nvram_file, _former(domain, "nvram"))), None)


def former_disks(domain: ET.Element) -> list[str]:
    """Where the disks are for which others stand in: files, devices or names of volumes."""
    return [_place(disk) for disk in _former(domain, "disk")]


def without_stand_ins(definition: str) -> str:
    """A definition with what it had before others stood in for it; what else has been changed since stays."""
    domain = parse(definition)
    devices, firmware = domain.find("devices"), domain.find("os")
    assert devices is not None
    former = {_target(disk): disk for disk in _former(domain, "disk")}
    disk_of = {str(overlay): disk for disk, overlay in overlays_of(domain).items()}
    for at, element in enumerate(devices):
        if element.tag == "disk":
            name = disk_of.get(_file(element), _target(element))  # one that was put elsewhere is one of them still
            devices[at] = former.pop(name, element)
    devices.extend(former.values())  # whose stand-ins were taken out
    for nvram in _former(domain, "nvram"):
        if firmware is not None:
            _remove(firmware, "nvram")
            firmware.append(nvram)
    make_like_any_other(domain)
    return ET.tostring(domain, encoding="unicode")


def unfinished(domain: ET.Element, origin: Origin) -> list[str]:
    """The disks whose chains still name what is served."""
    return [
        _target(disk)
        for disk in domain.iterfind("devices/disk")
        if any(host.get("socket") == str(origin.socket) for host in disk.iterfind("backingStore//host"))
    ]


def like_any_other(definition: str) -> str:
    """A definition without what only a machine that runs from backup needs."""
    domain = parse(definition)
    make_like_any_other(domain)
    return ET.tostring(domain, encoding="unicode")


def make_like_any_other(domain: ET.Element) -> None:
    """Take out of a definition what only a machine that runs from backup needs; its chains are left."""
    before = {disk.attrib["name"]: disk.attrib for disk in domain.iterfind(f"metadata/{_ORIGIN}/{_DISK}")}
    for metadata in domain.findall("metadata"):
        _remove(metadata, _ORIGIN)
        if len(metadata) == 0:
            domain.remove(metadata)
    for disk in domain.iterfind("devices/disk"):
        driver = disk.find("driver")
        if driver is not None and (was := before.get(_target(disk))) is not None:
            for policy in _POLICIES:
                driver.attrib.pop(policy, None)
                if policy in was:
                    driver.set(policy, was[policy])


def served_below(export: str, socket: Path) -> ET.Element:
    """The chain below an overlay: a disk that is served, and nothing further."""
    below = ET.Element("backingStore", type="network")
    ET.SubElement(below, "format", type="raw")
    source = ET.SubElement(below, "source", protocol="nbd", name=export)
    ET.SubElement(source, "host", transport="unix", socket=str(socket))
    ET.SubElement(source, "reconnect", delay=str(RECONNECT_S))  # libvirt before 9.1 drops it
    ET.SubElement(below, "backingStore")
    return below


def _attributes(origin: Origin) -> dict[str, str]:
    return {
        "repository": origin.repository,
        "point": origin.point,
        "machine": origin.machine,
        "born": origin.born_at.isoformat(),
        "socket": str(origin.socket),
    }


def _stand_on(disk: ET.Element, origin: Origin) -> dict[str, str]:
    """Put what is served below a disk. Returns the policies that it had."""
    driver = disk.find("driver")
    assert driver is not None
    had = {name: driver.attrib[name] for name in _POLICIES if name in driver.attrib}
    driver.attrib.update(_POLICIES)
    disk.append(served_below(_target(disk), origin.socket))
    return had


def _former(domain: ET.Element, path: str) -> list[ET.Element]:
    """What a machine had before it was booted in its own place; nothing of another's."""
    return domain.findall(f"metadata/{_ORIGIN}/{_FORMER}[@of='{domain.findtext('uuid')}']/{path}")


def _place(disk: ET.Element) -> str:
    """Where a disk is, in whatever way that is said; empty if in none of these."""
    said = {} if (source := disk.find("source")) is None else source.attrib
    return next((said[key] for key in ("file", "dev", "volume", "name") if key in said), "")


def _file(disk: ET.Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("file", "")


def _target(disk: ET.Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _remove(parent: ET.Element, tag: str) -> None:
    for child in parent.findall(tag):
        parent.remove(child)
