"""Capturing a domain that runs (or is paused): one backup job over all disks, begun inside a freeze.

Everything slow comes before the freeze. Between freeze and thaw there is one call to libvirt, or as many as it takes
until it accepts a way to begin; after the thaw comes what needs the job.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import libvirt

from holdfast.core.errors import FailedError
from holdfast.core.point import Consistency
from holdfast.core.ports import Baseline, CapturedDisk, CaptureOptions
from holdfast.core.progress import Progress
from holdfast.platforms.libvirt.agent import GuestAgent
from holdfast.platforms.libvirt.checkpoints import Checkpoints, NewCheckpoint
from holdfast.platforms.libvirt.instant import Beginning, Instant
from holdfast.platforms.libvirt.job import BackupJob, bitmap_export, clear_dead_job
from holdfast.platforms.libvirt.marks import Mark, Verdict, checkpoints_in, judge, new_checkpoint_name
from holdfast.platforms.libvirt.quiesce import Quiesce
from holdfast.platforms.libvirt.scratch import Scratch
from holdfast.platforms.libvirt.sockets import make_place, name_socket
from holdfast.platforms.libvirt.survey import Survey, SurveyedDisk, read_nvram, survey
from holdfast.platforms.libvirt.watch import JobWatch
from holdfast.platforms.nbd.client import Export, served_size
from holdfast.platforms.nbd.disk import NbdDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCapture:
    """A Capture of a running domain."""

    machine: str
    machine_id: str
    captured_at: datetime
    consistency: Consistency
    freeze_ms: float | None
    definition: bytes
    nvram: bytes | None
    disks: Sequence[CapturedDisk]
    warnings: Sequence[str]
    watch: JobWatch
    checkpoints: Checkpoints
    checkpoint: NewCheckpoint

    def confirm(self) -> None:
        """Raise what ended the job, if anything did. While it is under way, every read belongs to its instant."""
        if (cause := self.watch.cause()) is not None:
            raise cause

    def settle(self) -> Sequence[str]:
        """Keep this capture's checkpoint, remove the earlier ones of this repository."""
        self.checkpoint.keep()
        return self.checkpoints.remove_all_but([self.checkpoint.name])


@contextmanager
def capture_running(
    domain: Any, uri: str, baseline: Baseline | None, options: CaptureOptions, progress: Progress
) -> Iterator[RunningCapture]:
    """Capture all disks at one instant. The job lives as long as the context; its checkpoint longer, if settled."""
    clear_dead_job(domain)
    surveyed = survey(domain, running=True)
    nvram = read_nvram(surveyed)
    checkpoints = Checkpoints(domain, surveyed.disks, options.owner)
    verdict = _consider(checkpoints, surveyed, baseline)
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch(surveyed.disks, options.scratch, options.scratch_limit_bytes))
        place = make_place(uri, surveyed, domain.ID(), stack)
        checkpoint = stack.enter_context(NewCheckpoint(checkpoints, new_checkpoint_name(options.owner)))
        socket = name_socket(place, checkpoint.name)
        job = BackupJob(domain, uri, scratch.files, surveyed.skipped, socket, progress)
        watch = JobWatch(domain, job, scratch.trouble, progress)
        stack.callback(watch.resume_if_stalled)
        stack.callback(job.end)
        quiesce = stack.enter_context(Quiesce(GuestAgent(domain), surveyed.name, options.freeze_timeout_s, progress))
        instant = Beginning(domain, surveyed, job, quiesce, options).take(verdict, checkpoint.name)
        stack.enter_context(watch)
        # What a killed capture left. Without a baseline nobody can say which of ours are left over, until `settle`.
        kept = checkpoints_in(baseline)
        left_over = checkpoints.remove_all_but([checkpoint.name, *kept]) if kept else []
        yield RunningCapture(
            machine=surveyed.name,
            machine_id=surveyed.uuid,
            captured_at=instant.at,
            consistency=instant.consistency,
            freeze_ms=instant.freeze_ms,
            definition=surveyed.definition,
            nvram=nvram,
            disks=[_lend(disk, job, watch, instant, baseline) for disk in surveyed.disks],
            warnings=[*surveyed.warnings, *instant.warnings, *left_over],
            watch=watch,
            checkpoints=checkpoints,
            checkpoint=checkpoint,
        )


def _consider(checkpoints: Checkpoints, surveyed: Survey, baseline: Baseline | None) -> Verdict:
    """Judge the baseline, then ask libvirt whether the checkpoint that it names is sound."""
    verdict = judge(surveyed.markable, baseline)
    if verdict.checkpoint is None:
        return verdict
    try:
        checkpoints.verify(verdict.checkpoint)
    except libvirt.libvirtError as error:
        return Verdict.full(surveyed.markable, f"the mark cannot be used: {error.get_error_message()}")
    return verdict


def _lend(disk: SurveyedDisk, job: BackupJob, watch: JobWatch, instant: Instant, baseline: Baseline | None) -> NbdDisk:
    export = Export(socket=job.socket, name=disk.name, disk=disk.name, explain=watch.cause)
    size = served_size(export)
    if size != disk.size_bytes:
        raise FailedError(f"disk {disk.name} was resized while its backup began", hint="run the backup again")
    mark = None
    if disk.name in instant.attempt.marked and disk.markable.image is not None:
        mark = Mark(checkpoint=instant.attempt.checkpoint, size_bytes=size, image=disk.markable.image).to_json()
    is_increment = baseline is not None and instant.attempt.since is not None
    return NbdDisk(
        name=disk.name,
        size_bytes=size,
        format=disk.format,
        export=export,
        reason=instant.verdict.reasons[disk.name],
        mark=mark,
        bitmap=bitmap_export(disk.name) if is_increment else None,
        size_before=baseline.sizes[disk.name] if baseline is not None and is_increment else size,
    )
