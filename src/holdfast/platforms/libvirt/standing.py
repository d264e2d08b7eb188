"""A domain that is off, its disks to be compared with stored ones, or made equal to them.

What is overwritten keeps its marks: qemu-nbd, which writes, records what it writes in every bitmap that an image holds,
so a bitmap goes on telling all that differs from its point. Where qemu-nbd is killed it leaves them marked as in use,
and nobody builds on them any more.
"""

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import ConflictError, FailedError, FullError, HoldfastError, RefusedError
from holdfast.core.ports import Baseline, DiskPlan
from holdfast.core.progress import Progress
from holdfast.platforms.errors import is_full
from holdfast.platforms.files.aside import SetAside, set_aside_name
from holdfast.platforms.files.chain import block_device, writable_device
from holdfast.platforms.files.locks import is_in_use
from holdfast.platforms.files.publishing import sync_directory
from holdfast.platforms.libvirt.bitmaps import check_bitmaps
from holdfast.platforms.libvirt.calls import asking, virsh
from holdfast.platforms.libvirt.domain_xml import nvram_path, parse, read_disks
from holdfast.platforms.libvirt.marks import Verdict, judge
from holdfast.platforms.libvirt.on_backup import read_origin
from holdfast.platforms.libvirt.survey import SurveyedDisk, survey_standing
from holdfast.platforms.libvirt.switch import Switch
from holdfast.platforms.nbd.disk import EditableNbdDisk, NbdDisk
from holdfast.platforms.nbd.server import QemuNbd


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingDomain:
    """A StandingMachine."""

    name: str
    disks: Mapping[str, NbdDisk]
    warnings: Sequence[str]


class EditableDomain:
    """An EditableMachine."""

    def __init__(self, domain: Any, definition: ET.Element, aside: SetAside) -> None:
        self.name = str(domain.name())
        self.disks: dict[str, EditableNbdDisk] = {}
        self.warnings: Sequence[str] = ()
        self._domain = domain
        self._definition = definition
        self._aside = aside
        self._switch = Switch(domain, definition)
        self._servers: list[QemuNbd] = []

    def serve(self, disk: SurveyedDisk, verdict: Verdict, baseline: Baseline | None, servers: ExitStack) -> None:
        """Let a disk be written until the context of `servers` ends."""
        assert disk.chain is not None
        server = QemuNbd(disk.name, writable_device(disk.chain), [*_bitmap_argument(verdict), "--discard=unmap"])
        self._servers.append(servers.enter_context(server))
        servers.callback(_end_in_order, server)
        self.disks[disk.name] = EditableNbdDisk(
            name=disk.name,
            size_bytes=disk.size_bytes,
            format=disk.format,
            export=server.export,
            reason=verdict.reasons[disk.name],
            bitmap=verdict.checkpoint,
            size_before=_size_before(disk, baseline),
            before_writing=self._aside.begin_to_write,
        )

    def finish(self, nvram: bytes | None) -> None:
        """Make the disks durable, replace the firmware variables, give the images their names."""
        for server in self._servers:
            server.stop()
        path = nvram_path(self._definition)
        if nvram is not None and path is not None:
            replace_file(path, nvram)
        self._aside.give_back()

    def start(self) -> None:
        """Start the domain."""
        self._switch.start()

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time, or has no channel to."""
        return self._switch.wait_for_agent(timeout_s)


@contextmanager
def examine(domain: Any, wanted: Sequence[DiskPlan], baseline: Baseline | None) -> Iterator[StandingDomain]:
    """Serve the wanted disks of a domain that is off, read-only."""
    require_off(domain)
    surveyed, warnings = _survey(domain, wanted)
    with ExitStack() as servers:
        disks: dict[str, NbdDisk] = {}
        for disk in surveyed:
            assert disk.chain is not None
            verdict = _judge(disk, baseline)
            arguments = ["--read-only", *_bitmap_argument(verdict)]
            server = servers.enter_context(QemuNbd(disk.name, block_device(disk.chain), arguments))
            disks[disk.name] = NbdDisk(
                name=disk.name,
                size_bytes=disk.size_bytes,
                format=disk.format,
                export=server.export,
                reason=verdict.reasons[disk.name],
                bitmap=verdict.checkpoint,
                size_before=_size_before(disk, baseline),
            )
        yield StandingDomain(name=domain.name(), disks=disks, warnings=warnings)


@contextmanager
def overwrite(
    domain: Any, wanted: Sequence[DiskPlan], baseline: Baseline | None, progress: Progress
) -> Iterator[EditableDomain]:
    """Set the images of the wanted disks aside and serve them for writing.

    From then on the domain cannot be started or captured. If the context ends early, the images get their names back
    only if nothing can have been written to them.
    """
    require_off(domain)
    surveyed, warnings = _survey(domain, wanted)
    images = [disk.path for disk in surveyed if disk.path is not None]
    with SetAside(images) as aside, ExitStack() as servers:
        servers.callback(_tell_what_is_left, domain.name(), aside, images, progress)
        require_off(domain)  # a start that was under way has found the images, or has not
        machine = EditableDomain(domain, _definition(domain), aside)
        machine.warnings = warnings
        for disk in _survey(domain, wanted)[0]:
            machine.serve(disk, _judge(disk, baseline), baseline, servers)
        yield machine


def require_off(domain: Any) -> None:
    """Raise RefusedError if a domain runs from backup, off or not, or runs, or is saved with its memory."""
    name = domain.name()
    with asking(f"see whether {name} is off"):
        active, saved = bool(domain.isActive()), bool(domain.hasManagedSaveImage())
    if read_origin(_definition(domain)) is not None:
        raise RefusedError(
            f"{name} runs from backup",
            hint=f"bring it home, holdfast mount finalize {name}, or give it up, holdfast mount remove {name}",
            code="on-backup",
        )
    if active:
        raise RefusedError(
            f"{name} is running, and its disks are not written under it",
            hint=f"shut it down first, or restore beside it: --name NEW ({virsh(domain, 'shutdown')})",
            code="running",
        )
    if saved:
        raise RefusedError(
            f"{name} is saved with its memory, which does not belong to the disks that it would find",
            hint=f"start it and shut it down, or give up what it was doing: {virsh(domain, 'managedsave-remove')}",
            code="saved",
        )


def _survey(domain: Any, wanted: Sequence[DiskPlan]) -> tuple[list[SurveyedDisk], list[str]]:
    """The wanted disks, each a file of the wanted size that nobody has open; and what to say of the others."""
    listed = {disk.name: disk for disk in read_disks(_definition(domain)) if not disk.is_medium}
    found: list[SurveyedDisk] = []
    for plan in wanted:
        disk = listed.pop(plan.name, None)
        if disk is None or disk.obstacle:
            obstacle = disk.obstacle if disk else "is not there any more"
            raise RefusedError(
                f"disk {plan.name} of {domain.name()} cannot be written: it {obstacle}",
                hint="restore the machine under a new name: --name NEW",
                code="not-writable",
            )
        found.append(survey_standing(domain, disk))
        _require_writable(domain.name(), found[-1], plan)
    return found, [f"disk {name} is not part of the point and stays as it is" for name in listed]


def _require_writable(machine: str, disk: SurveyedDisk, plan: DiskPlan) -> None:
    assert disk.chain is not None
    top = disk.chain[0].path
    if disk.size_bytes != plan.size_bytes:
        raise RefusedError(
            f"disk {disk.name} of {machine} has {disk.size_bytes} bytes, in the point it has {plan.size_bytes}",
            hint=f"give it that size (qemu-img resize {top} {plan.size_bytes}), or restore under a new name",
            code="geometry",
        )
    if top.is_block_device():
        raise RefusedError(
            f"disk {disk.name} of {machine} is the block device {top}, which cannot be set aside while it is written",
            hint="restore the machine under a new name: --name NEW",
            code="not-writable",
        )
    if is_in_use(top):
        raise ConflictError(
            f"{machine} is off, but {top} is in use by another process", hint="find out which, end it", code="in-use"
        )


def _judge(disk: SurveyedDisk, baseline: Baseline | None) -> Verdict:
    """Whether this disk, whatever the others are, tells what changed."""
    if baseline is None:
        return Verdict.full([disk.markable], "the repository has no point that its changes could be told from")
    return check_bitmaps([disk], judge([disk.markable], baseline))


def _bitmap_argument(verdict: Verdict) -> list[str]:
    return [] if verdict.checkpoint is None else [f"--bitmap={verdict.checkpoint}"]


def _size_before(disk: SurveyedDisk, baseline: Baseline | None) -> int:
    return disk.size_bytes if baseline is None else baseline.sizes.get(disk.name, disk.size_bytes)


def _definition(domain: Any) -> ET.Element:
    with asking(f"read the definition of {domain.name()}"):
        return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))


def _tell_what_is_left(machine: str, aside: SetAside, images: Sequence[Path], progress: Progress) -> None:
    if aside.is_half_written:
        names = ", ".join(str(set_aside_name(path)) for path in images)
        progress.warning(
            f"{machine} is half restored, and neither starts nor is backed up: {names}; restore it in place again, to "
            "any point, and it goes on from there"
        )


def _end_in_order(server: QemuNbd) -> None:
    """Let it write down its bitmaps, whatever happened: they tell what has been overwritten by now."""
    with suppress(HoldfastError):
        server.stop()


def replace_file(path: Path, content: bytes) -> None:
    """Put other content in a file's place, durably and at once; owner and mode stay. Raises FullError, FailedError."""
    draft = path.with_name(path.name + ".partial")
    try:
        draft.unlink(missing_ok=True)  # left by a kill, or laid there by QEMU, whose directory it is
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            if path.exists():
                status = path.stat()
                os.fchmod(file.fileno(), status.st_mode & 0o7777)
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        kind = FullError if is_full(error) else FailedError
        raise kind(f"cannot write {path}: {error.strerror}") from error
