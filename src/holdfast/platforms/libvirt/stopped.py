"""Capturing a domain that is off: its images are read where they lie, and the guest may be started at any moment.

No image is locked while it is read, so a guest's start is never in the way; instead `confirm` sees whether there was
one, and the capture fails. Only while qemu-img adds or removes a bitmap, some 20 ms, would a start be refused.

A checkpoint is a bitmap that qemu-img adds to each image, and metadata that libvirt is given once the point is
committed: the same that a running domain's backup leaves, so either can build on the other.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import ConflictError, FailedError, HoldfastError, RefusedError
from holdfast.core.point import Consistency
from holdfast.core.ports import Baseline, CapturedDisk, CaptureOptions
from holdfast.platforms.files.chain import block_device
from holdfast.platforms.files.locks import is_in_use
from holdfast.platforms.files.qemu_img import add_bitmap
from holdfast.platforms.files.raw import RawDisk
from holdfast.platforms.files.witness import Witness
from holdfast.platforms.libvirt.bitmaps import check_bitmaps
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.checkpoints import Checkpoints, NewCheckpoint, collecting
from holdfast.platforms.libvirt.marks import Mark, Verdict, checkpoints_in, judge, new_checkpoint_name
from holdfast.platforms.libvirt.survey import Survey, SurveyedDisk, read_nvram, survey
from holdfast.platforms.nbd.client import served_size
from holdfast.platforms.nbd.disk import NbdDisk
from holdfast.platforms.nbd.server import QemuNbd

_SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedCapture:
    """A Capture of a domain that is off."""

    machine: str
    machine_id: str
    captured_at: datetime
    consistency: Consistency
    definition: bytes
    nvram: bytes | None
    disks: Sequence[CapturedDisk]
    warnings: Sequence[str]
    domain: Any
    witness: Witness
    images: Sequence[Path]
    checkpoints: Checkpoints
    checkpoint: NewCheckpoint
    marked: Sequence[str]

    @property
    def freeze_ms(self) -> float | None:
        """Nothing runs, so nothing was frozen."""
        return None

    def confirm(self) -> None:
        """Raise FailedError if the domain was started or an image changed since the instant."""
        with asking(f"see whether {self.machine} is still off"):
            started = bool(self.domain.isActive())
        if started:
            raise FailedError(
                f"{self.machine} was started while it was read", hint="run the backup again", code="changed"
            )
        self.witness.confirm()
        for path in self.images:
            if is_in_use(path):
                raise FailedError(
                    f"{path} was put to use while it was read", hint="run the backup again", code="changed"
                )

    def settle(self) -> Sequence[str]:
        """Tell libvirt of this capture's checkpoint, remove the earlier ones of this repository."""
        self.checkpoint.keep()
        troubles: list[str] = []
        if self.marked:
            with collecting(troubles):
                self.checkpoints.make_known(self.checkpoint.name, self.marked)
        return [*troubles, *self.checkpoints.remove_all_but([self.checkpoint.name])]


@contextmanager
def capture_stopped(domain: Any, baseline: Baseline | None, options: CaptureOptions) -> Iterator[StoppedCapture]:
    """Capture all disks of a domain that is off."""
    surveyed = survey(domain, running=False)
    _refuse_unreadable(surveyed)
    consistency = _consistency(domain, options)
    checkpoints = Checkpoints(domain, surveyed.disks, options.owner)
    # What a killed capture left. Without a baseline nobody can say which of ours are left over, until `settle`.
    kept = checkpoints_in(baseline)
    left_over = checkpoints.remove_all_but(kept) if kept else []
    verdict = check_bitmaps(surveyed.disks, judge(surveyed.markable, baseline))
    with ExitStack() as stack:
        checkpoint = stack.enter_context(NewCheckpoint(checkpoints, new_checkpoint_name(options.owner)))
        at = datetime.now(UTC)
        marked, unmarked = _mark(surveyed, checkpoint.name)
        # From here on the images must not change; bitmaps of ours were the last change.
        witness = Witness.of(layer.path for disk in surveyed.disks for layer in disk.chain or ())
        lender = _Lender(checkpoint=checkpoint.name, marked=marked, verdict=verdict, baseline=baseline, servers=stack)
        yield StoppedCapture(
            machine=surveyed.name,
            machine_id=surveyed.uuid,
            captured_at=at,
            consistency=consistency,
            definition=surveyed.definition,
            nvram=read_nvram(surveyed),
            disks=[lender.lend(disk) for disk in surveyed.disks],
            warnings=[*surveyed.warnings, *_saved(domain), *unmarked, *left_over, *witness.doubts()],
            domain=domain,
            witness=witness,
            images=[disk.path for disk in surveyed.disks if disk.path is not None],
            checkpoints=checkpoints,
            checkpoint=checkpoint,
            marked=marked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lender:
    """Opens images for reading, the way the capture was decided."""

    checkpoint: str
    marked: Sequence[str]
    verdict: Verdict
    baseline: Baseline | None
    servers: ExitStack

    def lend(self, disk: SurveyedDisk) -> CapturedDisk:
        assert disk.chain is not None
        assert disk.path is not None
        reason = self.verdict.reasons[disk.name]
        if disk.format == "raw" and disk.size_bytes % _SECTOR == 0:
            return RawDisk(name=disk.name, path=disk.path, size_bytes=disk.size_bytes, reason=reason)
        since = self.verdict.checkpoint
        arguments = ["--read-only"] if since is None else ["--read-only", f"--bitmap={since}"]
        server = self.servers.enter_context(QemuNbd(disk.name, block_device(disk.chain), arguments))
        size = served_size(server.export)
        mark = None
        if disk.name in self.marked and disk.markable.image is not None:
            mark = Mark(checkpoint=self.checkpoint, size_bytes=size, image=disk.markable.image).to_json()
        return NbdDisk(
            name=disk.name,
            size_bytes=size,
            format=disk.format,
            export=server.export,
            reason=reason,
            mark=mark,
            bitmap=since,
            size_before=self.baseline.sizes[disk.name] if self.baseline is not None and since else size,
        )


def _refuse_unreadable(surveyed: Survey) -> None:
    """Raise unless every disk is an image on this host that nothing else has open."""
    for disk in surveyed.disks:
        if disk.chain is None or disk.path is None:
            raise RefusedError(
                f"disk {disk.name} of {surveyed.name}, which is off, cannot be read: {disk.markable.obstacle}",
                hint="start the machine and back it up running",
            )
        if is_in_use(disk.path):
            raise ConflictError(
                f"{surveyed.name} is off, but {disk.path} is in use by another process",
                hint="find out which, and end it",
                code="in-use",
            )


def _consistency(domain: Any, options: CaptureOptions) -> Consistency:
    """`filesystem` only where libvirt saw the guest switch itself off; it forgets that when it is restarted."""
    with asking(f"see why {domain.name()} is off"):
        _, reason = domain.state()
        clean = reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN and not domain.hasManagedSaveImage()
    if not clean and options.require_quiesce:
        raise FailedError(
            f"{domain.name()} is off, and whether it was shut down cleanly is not known",
            hint="start it, or leave --require-quiesce out for a crash-consistent point",
            code="not-quiesced",
        )
    return "filesystem" if clean else "crash"


def _saved(domain: Any) -> Iterator[str]:
    with asking(f"see whether {domain.name()} is saved"):
        if domain.hasManagedSaveImage():
            yield f"{domain.name()} is saved with its memory, which is not part of the point: its disks look crashed"


def _mark(surveyed: Survey, name: str) -> tuple[list[str], list[str]]:
    """Add a bitmap to every image that can have one: which disks got it, and what to say about those that did not."""
    marked: list[str] = []
    troubles: list[str] = []
    for disk in surveyed.disks:
        if disk.path is None or disk.markable.image is None:
            continue
        try:
            add_bitmap(disk.path, name)
        except HoldfastError as error:
            troubles.append(f"no mark could be left, so the next backup reads everything: {error.message}")
        else:
            marked.append(disk.name)
    return marked, troubles
