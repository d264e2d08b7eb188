"""What a domain is made of right now: the disks to capture, what a mark can be kept in, and what must be said."""

import stat
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import FailedError, HoldfastError, RefusedError
from holdfast.platforms.files.aside import set_aside_name, whereabouts
from holdfast.platforms.files.chain import Chain, read_chain
from holdfast.platforms.files.raw import raw_size
from holdfast.platforms.files.witness import written_sectors
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import DomainDisk, caveats, nvram_path, parse, read_disks
from holdfast.platforms.libvirt.marks import Image, MarkableDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedDisk:
    """A disk to capture. `chain` is known where its images are readable files here; `markable` judges it."""

    name: str
    path: Path | None
    format: str
    size_bytes: int
    chain: Chain | None
    markable: MarkableDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A domain as of one look. `skipped` disks exist but are not captured; `warnings` say so."""

    name: str
    uuid: str
    xml: ET.Element
    definition: bytes
    disks: Sequence[SurveyedDisk]
    skipped: Sequence[str]
    warnings: Sequence[str]

    @property
    def markable(self) -> list[MarkableDisk]:
        """The disks as marks see them."""
        return [disk.markable for disk in self.disks]


def survey(domain: Any, *, running: bool) -> Survey:
    """Look at a domain. Raises RefusedError if there is nothing to capture; what libvirt refuses otherwise."""
    with asking("read the machine's definition"):
        # The migratable form describes the machine that runs, hot-plugged disks included, without this run's details.
        form = libvirt.VIR_DOMAIN_XML_MIGRATABLE if running else libvirt.VIR_DOMAIN_XML_INACTIVE
        definition = domain.XMLDesc(form | libvirt.VIR_DOMAIN_XML_SECURE)
        xml = parse(domain.XMLDesc(0 if running else libvirt.VIR_DOMAIN_XML_INACTIVE))
    listed = [disk for disk in read_disks(xml) if not disk.is_medium]
    wanted = [disk for disk in listed if not disk.obstacle]
    if not wanted:
        raise RefusedError(f"{domain.name()} has no disk that can be captured", hint="see: holdfast machine list")
    return Survey(
        name=domain.name(),
        uuid=domain.UUIDString(),
        xml=xml,
        definition=definition.encode(),
        disks=[survey_disk(domain, disk) for disk in wanted],
        skipped=[disk.name for disk in read_disks(xml) if disk not in wanted],
        warnings=[
            *(
                f"disk {disk.name} ({disk.place}) is not captured: it {disk.obstacle}"
                for disk in listed
                if disk.obstacle
            ),
            *caveats(xml),
        ],
    )


def survey_disk(domain: Any, disk: DomainDisk) -> SurveyedDisk:
    """Look at one disk's size and images."""
    path = image_path(domain, disk)
    _refuse_set_aside(domain, disk, path)
    with asking(f"read the size of {disk.name} of {domain.name()}"):
        size_bytes = int(domain.blockInfo(disk.name)[0])
    chain, obstacle = _look_into(disk, path)
    image = None if obstacle or chain is None else _image(chain)
    markable = MarkableDisk(name=disk.name, size_bytes=size_bytes, image=image, obstacle=obstacle)
    return SurveyedDisk(
        name=disk.name,
        path=path,
        format="qcow2" if disk.format == "qcow2" else "raw",  # what a restore can make again
        size_bytes=size_bytes,
        chain=chain,
        markable=markable,
    )


def survey_standing(domain: Any, disk: DomainDisk) -> SurveyedDisk:
    """Look at one disk of a domain that is off, whose image may have been set aside. Raises RefusedError."""
    path = image_path(domain, disk)
    chain, obstacle = _look_into(disk, None if path is None else whereabouts(path))
    if chain is None or path is None:
        raise RefusedError(
            f"disk {disk.name} of {domain.name()} cannot be written: {obstacle}",
            hint="restore the machine under a new name: --name NEW",
            code="not-writable",
        )
    top = chain[0]
    size_bytes = raw_size(top.path) if top.qcow2 is None else top.qcow2.size_bytes
    image = None if obstacle else replace(_image(chain), path=str(path))
    return SurveyedDisk(
        name=disk.name,
        path=path,
        format=top.format,
        size_bytes=size_bytes,
        chain=chain,
        markable=MarkableDisk(name=disk.name, size_bytes=size_bytes, image=image, obstacle=obstacle),
    )


def image_path(domain: Any, disk: DomainDisk) -> Path | None:
    """Where a disk's image is on this host, if it is. Raises what libvirt refuses."""
    return _volume_path(domain, disk) if disk.source_type == "volume" else disk.path


def read_nvram(survey_: Survey) -> bytes | None:
    """The machine's own firmware variables. Raises FailedError if it has some that cannot be read."""
    path = nvram_path(survey_.xml)
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise FailedError(
            f"cannot read the firmware variables of {survey_.name}, {path}: {error.strerror}",
            hint="run Holdfast on the hypervisor's host, as a user who may read them",
        ) from error


def _refuse_set_aside(domain: Any, disk: DomainDisk, path: Path | None) -> None:
    if path is not None and whereabouts(path) != path:
        raise RefusedError(
            f"disk {disk.name} of {domain.name()} is half restored: its image is {set_aside_name(path)}",
            hint="run the restore in place again, of any point; it goes on from there",
            code="half-restored",
        )


def _volume_path(domain: Any, disk: DomainDisk) -> Path:
    with asking(f"find the volume {disk.place} of {domain.name()}"):
        pool = domain.connect().storagePoolLookupByName(disk.pool)
        return Path(pool.storageVolLookupByName(disk.volume).path())


def _look_into(disk: DomainDisk, path: Path | None) -> tuple[Chain | None, str]:  # noqa: PLR0911 - one line a doubt
    """The disk's images, and what keeps a mark from being kept there; empty if nothing does."""
    if disk.veil:
        return None, disk.veil
    if path is None:
        return None, f"{disk.place} is not on this host, so it keeps no record of changed blocks that we can trust"
    if disk.format not in {"raw", "qcow2"}:
        return None, f"{disk.format} disks keep no record of changed blocks"
    try:
        chain = read_chain(path, "qcow2" if disk.format == "qcow2" else "raw")
    except HoldfastError as error:
        return None, f"its images cannot be examined: {error.message}"
    if chain[0].qcow2 is None:
        return chain, "raw disks keep no record of changed blocks"
    if chain[0].qcow2.version < 3:
        return chain, "qcow2 images of version 2 keep no record of changed blocks (qemu-img amend -o compat=1.1)"
    return chain, ""


def _image(chain: Chain) -> Image:
    path = chain[0].path
    try:
        top = path.stat()
        below = tuple(_describe_layer(layer.path) for layer in chain[1:])
    except OSError as error:
        raise FailedError(f"cannot look at {path} and what it stands on: {error.strerror}") from error
    return Image(path=str(path), inode=0 if stat.S_ISBLK(top.st_mode) else top.st_ino, chain=below)


def _describe_layer(path: Path) -> str:
    """A backing file such that another one in its place, or a write to it, makes another description."""
    status = path.stat()
    if stat.S_ISBLK(status.st_mode):
        return f"{path} (written sectors: {written_sectors(status.st_rdev)})"
    return f"{path} (inode {status.st_ino}, {status.st_size} bytes, {status.st_mtime_ns} ns)"
