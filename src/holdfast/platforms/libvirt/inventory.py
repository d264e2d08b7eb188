"""Listing domains: state, disks, and whether changed blocks can be told."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import libvirt

from holdfast.core.errors import HoldfastError
from holdfast.core.machine import DiskInfo, MachineInfo, MachineState, Tracking
from holdfast.platforms.libvirt.agent import AgentError, GuestAgent
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import DomainDisk, agent_state, parse, read_disks
from holdfast.platforms.libvirt.marks import newest_of_each
from holdfast.platforms.libvirt.survey import SurveyedDisk, survey_disk

_PING_S = 1.0
_AT_ONCE = 8  # a guest agent that hangs costs seconds; it shall not hold up the others

_STATES: dict[int, MachineState] = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",  # on its way down, but not there
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
}


def list_machines(connection: Any) -> Sequence[MachineInfo]:
    """Every domain, by name. One that goes away while it is looked at is left out."""
    with asking("list the machines"):
        domains = connection.listAllDomains()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="holdfast-list") as pool:
        machines = [machine for machine in pool.map(_describe, domains) if machine is not None]
    return sorted(machines, key=lambda machine: machine.name)


def _describe(domain: Any) -> MachineInfo | None:
    with suppress(libvirt.libvirtError):
        xml = parse(domain.XMLDesc())
        state = _STATES.get(domain.state()[0], "off")
        return MachineInfo(
            id=domain.UUIDString(),
            name=domain.name(),
            state=state,
            agent=state == "running" and _answers(domain, xml),
            disks=tuple(_describe_disk(domain, disk) for disk in read_disks(xml) if not disk.is_medium),
        )
    return None


def _answers(domain: Any, xml: ET.Element) -> bool:
    if agent_state(xml) != "connected":
        return False
    try:
        GuestAgent(domain).ping(_PING_S)
    except AgentError:
        return False
    return True


def _describe_disk(domain: Any, disk: DomainDisk) -> DiskInfo:
    size_bytes, allocated_bytes = 0, 0
    tracking: Tracking = "none"
    with suppress(libvirt.libvirtError):
        size_bytes, allocated_bytes, _ = map(int, domain.blockInfo(disk.name))
    with suppress(HoldfastError):
        tracking = "none" if disk.obstacle else _tracking(domain, survey_disk(domain, disk))
    return DiskInfo(
        name=disk.name,
        path=disk.place,
        format=disk.format,
        size_bytes=size_bytes,
        allocated_bytes=allocated_bytes,
        tracking=tracking,
    )


def _tracking(domain: Any, disk: SurveyedDisk) -> Tracking:
    """`none` if no mark can be kept, `broken` if a repository's newest mark is unusable, `ok` otherwise."""
    if disk.markable.image is None or disk.chain is None or disk.chain[0].qcow2 is None:
        return "none"
    with asking(f"look at the checkpoints of {domain.name()}"):
        ours = newest_of_each(_marks_on(domain, disk.name))
        if domain.isActive():
            sound = all(_is_sound_live(domain, name, disk.name) for name in ours)
        else:
            found = [disk.chain[0].qcow2.bitmap(name) for name in ours]
            sound = all(bitmap is not None and bitmap.recording and not bitmap.in_use for bitmap in found)
    return "ok" if sound else "broken"


def _marks_on(domain: Any, disk: str) -> list[str]:
    """Checkpoints that libvirt knows to have a bitmap on the disk."""
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
    known = [(point.getName(), parse(point.getXMLDesc(flags))) for point in domain.listAllCheckpoints()]
    return [name for name, xml in known if _entry(xml, disk) is not None]


def _is_sound_live(domain: Any, checkpoint: str, disk: str) -> bool:
    """Whether the bitmap is there and whole: only then does libvirt tell how much it marks."""
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN | libvirt.VIR_DOMAIN_CHECKPOINT_XML_SIZE
    entry = _entry(parse(domain.checkpointLookupByName(checkpoint).getXMLDesc(flags)), disk)
    return entry is not None and entry.get("size") is not None


def _entry(checkpoint: ET.Element, disk: str) -> ET.Element | None:
    found = checkpoint.find(f"disks/disk[@name='{disk}']")
    return found if found is not None and found.get("checkpoint") == "bitmap" else None
