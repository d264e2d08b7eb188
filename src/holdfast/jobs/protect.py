"""Protect: capture a machine, move what the repository lacks, commit the point, and only then move the mark."""

import time
from contextlib import AbstractContextManager

from holdfast.core.point import RestorePoint
from holdfast.core.ports import Baseline, Capture, CaptureOptions, Platform
from holdfast.core.progress import Progress
from holdfast.jobs.notes import Notes
from holdfast.jobs.results import BackupResult, ProtectedDisk
from holdfast.mover import BackupOutcome, Care, back_up
from holdfast.repository import Repository


def protect_machine(
    platform: Platform,
    machine: str,
    repository: Repository,
    *,
    options: CaptureOptions,
    care: Care,
    progress: Progress,
) -> BackupResult:
    """Protect the machine with this id or name, from changed blocks where its newest point's marks allow.

    Raises what `Platform.find`, `Platform.capture` and the data path raise; no point exists then, and the old mark
    and the old points stand.
    """
    began = time.monotonic()
    notes = Notes(progress)
    machine_id = platform.find(machine)
    parent = repository.newest_of(machine_id)
    with platform.capture(machine_id, Baseline.of(parent) if parent else None, options, notes) as capture:
        outcome = _store(capture, repository, parent, care, notes)
        return _result(capture, repository, outcome, time.monotonic() - began, notes)


def protect_images(
    captured: AbstractContextManager[Capture], repository: Repository, *, care: Care, progress: Progress
) -> BackupResult:
    """Protect disks that a capture without a platform lends: read in full, sending only what the repository lacks."""
    began = time.monotonic()
    notes = Notes(progress)
    with captured as capture:
        parent = repository.newest_of(capture.machine_id)
        outcome = _store(capture, repository, parent, care, notes)
        return _result(capture, repository, outcome, time.monotonic() - began, notes)


def _store(
    capture: Capture, repository: Repository, parent: RestorePoint | None, care: Care, notes: Notes
) -> BackupOutcome:
    notes.add(capture.warnings)
    outcome = back_up(capture, repository, parent=parent, care=care, progress=notes)
    notes.add(capture.settle())
    return outcome


def _result(
    capture: Capture, repository: Repository, outcome: BackupOutcome, seconds: float, notes: Notes
) -> BackupResult:
    point = outcome.point
    read = {disk.name: disk.read_bytes for disk in outcome.disks}
    return BackupResult(
        machine=point.machine,
        machine_id=point.machine_id,
        point=point.id,
        repository=repository.storage.url,
        captured_at=point.captured_at,
        consistency=point.consistency,
        freeze_ms=None if capture.freeze_ms is None else round(capture.freeze_ms, 1),
        seconds=round(seconds, 3),
        read_bytes=outcome.read_bytes,
        proved_bytes=outcome.proved_bytes,
        sent_bytes=outcome.sent_bytes,
        stored_bytes=outcome.stored_bytes,
        capture=point.capture,
        disks=tuple(
            ProtectedDisk(
                name=disk.name,
                capture=disk.capture,
                reason=disk.reason,
                size_bytes=disk.size_bytes,
                read_bytes=read[disk.name],
            )
            for disk in point.disks
        ),
        locked_until=outcome.locked_until,
        warnings=notes.warnings,
    )
