"""A domain's XML, read: its disks, its agent, its firmware variables. Source: libvirt.org/formatdomain.html."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

AGENT_CHANNEL = "org.qemu.guest_agent.0"

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_MAY_STORE = {"scsi", "scsi_host", "pci", "usb"}

# Namespaces that libvirt itself puts into domains keep their customary prefixes when written again.
ET.register_namespace("qemu", QEMU)
ET.register_namespace("libosinfo", "http://libosinfo.org/xmlns/libvirt/domain/1.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDisk:
    """One `<disk>`. `place` says for people where its data are; `path` is that place if it is on this host.

    `veil` says, in words, what QEMU puts between the place and the guest, so that only QEMU can read the disk.
    """

    name: str
    device: str
    source_type: str
    place: str
    path: Path | None
    format: str
    readonly: bool
    shareable: bool
    veil: str = ""
    pool: str = ""
    volume: str = ""

    @property
    def is_medium(self) -> bool:
        """A drive for media, or one without a medium: nothing of the machine's own."""
        return self.device in {"cdrom", "floppy"} or not self.place

    @property
    def obstacle(self) -> str:
        """Why the disk cannot be captured, in words; empty if it can."""
        if self.device != "disk":
            return f"is passed through to the guest as {self.device}"
        if self.source_type in {"vhostuser", "nvme", "dir", "vhostvdpa"}:
            return f"is of type {self.source_type}, which QEMU cannot back up"
        if self.shareable:
            return "is shared with other machines, whose writes no snapshot here can see"
        if self.readonly:
            return "is read-only for the guest, so it never changes"
        return ""


def parse(xml: str | bytes) -> ET.Element:
    """The document's root. libvirt wrote it, or our repository vouches for it: no stranger's document comes here."""
    return ET.fromstring(xml)  # noqa: S314


def read_disks(domain: ET.Element) -> list[DomainDisk]:
    """All disks, in their order."""
    return [_read_disk(disk) for disk in domain.iterfind("devices/disk")]


def _read_disk(disk: ET.Element) -> DomainDisk:
    source = disk.find("source")
    attributes = {} if source is None else source.attrib
    source_type = disk.get("type", "file")
    local = {"file": "file", "block": "dev"}.get(source_type)
    path = attributes.get(local, "") if local else ""
    target, driver = disk.find("target"), disk.find("driver")
    return DomainDisk(
        name="" if target is None else target.get("dev", ""),
        device=disk.get("device", "disk"),
        source_type=source_type,
        place=path or _describe(source_type, attributes),
        path=Path(path) if path else None,
        format="raw" if driver is None else driver.get("type", "raw"),  # without a word libvirt takes it for raw
        readonly=disk.find("readonly") is not None,
        shareable=disk.find("shareable") is not None,
        veil=_veil(disk),
        pool=attributes.get("pool", ""),
        volume=attributes.get("volume", ""),
    )


def _veil(disk: ET.Element) -> str:
    if disk.find("encryption") is not None or disk.find("source/encryption") is not None:
        return "it is encrypted by QEMU, which alone can read it"
    if disk.find("source/slices") is not None:
        return "it is a slice of its image, which QEMU alone can read"
    return ""


def _describe(source_type: str, attributes: dict[str, str]) -> str:
    words = [attributes[key] for key in ("protocol", "pool", "name", "volume", "path", "dir") if key in attributes]
    return f"{source_type}:{'/'.join(words)}" if words else ""


AgentState = Literal["none", "disconnected", "connected"]


def agent_state(domain: ET.Element) -> AgentState:
    """Whether the domain has a channel for the guest agent, and whether (in a live XML) the guest has it open."""
    for target in domain.iterfind("devices/channel/target"):
        if target.get("name") == AGENT_CHANNEL:
            return "connected" if target.get("state") == "connected" else "disconnected"
    return "none"


def nvram_path(domain: ET.Element) -> Path | None:
    """The file of the domain's own firmware variables."""
    nvram = domain.find("os/nvram")
    return None if nvram is None else nvram_file(nvram)


def nvram_file(nvram: ET.Element) -> Path | None:
    """The file that an `<nvram>` names, in either of two ways."""
    source = nvram.find("source")
    path = (nvram.text or "").strip() or ("" if source is None else source.get("file", ""))
    return Path(path) if path else None


def qemu_owner(domain: ET.Element) -> tuple[int, int] | None:
    """User and group that QEMU runs as, where a live XML says so (`+uid:+gid`); None where they are not changed."""
    return _owner(domain.findtext("seclabel[@model='dac']/label", ""))


def qemu_label(capabilities: ET.Element) -> tuple[int, int] | None:
    """User and group that a host runs QEMU as, unless a domain says otherwise."""
    models = (model for model in capabilities.iterfind("host/secmodel") if model.findtext("model") == "dac")
    return _owner(next((model.findtext("baselabel", "") for model in models), ""))


def _owner(label: str) -> tuple[int, int] | None:
    user, _, group = label.partition(":")
    if not (user.startswith("+") and group.startswith("+")):
        return None
    return int(user), int(group)


def caveats(domain: ET.Element) -> Iterator[str]:
    """What a restore of this definition cannot bring back by itself."""
    if domain.find("os/kernel") is not None:
        yield f"the machine boots {domain.findtext('os/kernel')} from its host; the point holds the path, not the file"
    if domain.find("devices/tpm") is not None:
        yield "the machine has a TPM; what it stores is not part of the point"
    for place in places_of(memory_in_files(domain)):
        yield f"the machine keeps memory in {place}, which is not part of the point"
    for place in places_of(domain.iterfind("devices/filesystem")):
        yield f"the host shares {place} with the machine; what it holds is not part of the point"
    for device in domain.iterfind("devices/hostdev"):
        if (kind := device.get("type")) in _MAY_STORE:
            yield f"the machine uses a {kind} device of its host; if that stores data, they are not part of the point"
    if has_qemu_arguments(domain):
        yield "the machine has arguments for QEMU of its own; storage that they name is not part of the point"


def memory_in_files(domain: ET.Element) -> list[ET.Element]:
    """Memory devices whose content outlives the machine's run, in a file of the host."""
    return [memory for memory in domain.iterfind("devices/memory") if memory.find("source/path") is not None]


def places_of(devices: Iterable[ET.Element]) -> Iterator[str]:
    """Where the host keeps what these devices hold, for people."""
    for device in devices:
        source = device.find("source")
        if source is not None:
            yield source.findtext("path") or " ".join(source.attrib.values()) or "a place of its own"


def has_qemu_arguments(domain: ET.Element) -> bool:
    """Whether the definition hands QEMU arguments that libvirt does not understand."""
    return domain.find(f"{{{QEMU}}}commandline") is not None
