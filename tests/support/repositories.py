"""Repositories whose passphrase costs nothing to try, and the whole road in both directions."""

from collections.abc import Sequence
from typing import Any

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress, Silence
from holdfast.mover import BackupOutcome, Care, back_up, restore_disk
from holdfast.repository import (
    CheckReport,
    KdfCost,
    MemoryStorage,
    Repository,
    Storage,
    create_repository,
    open_repository,
)
from holdfast.repository.config import Cut
from tests.support.disks import CapturedModel, ModelCapture, ModelTarget

PASSPHRASE = b"correct horse"
ALL_VERIFIED = Care(verify_share=1.0)
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
SMALL_CUT = Cut(region_bytes=64 * 1024, minimum_blocks=2, boundary_bits=1, maximum_blocks=5)
"""Regions of 16 blocks: deep trees and every edge of the cut from a few hundred KiB."""


def new_repository(
    storage: Storage | None = None, cut: Cut | None = None, like: Repository | None = None
) -> Repository:
    place = storage if storage is not None else MemoryStorage()
    return create_repository(place, PASSPHRASE, cost=CHEAP, cut=cut, like=like)


def reopened(repository: Repository) -> Repository:
    """The same storage, seen by somebody who knows nothing yet."""
    return open_repository(repository.storage, PASSPHRASE)


def back_up_disks(
    repository: Repository,
    disks: Sequence[CapturedModel],
    *,
    parent: RestorePoint | None = None,
    care: Care = ALL_VERIFIED,
    progress: Progress | None = None,
    **capture: Any,
) -> BackupOutcome:
    return back_up(
        ModelCapture(disks=disks, **capture),
        repository,
        parent=parent,
        care=care,
        progress=progress or Silence(),
    )


def restored(repository: Repository, point: RestorePoint, name: str = "vda") -> bytes:
    """The bytes of one disk of a point, by the road that a restore takes."""
    disk = point.disk(name)
    assert disk is not None
    target = ModelTarget(disk.size_bytes)
    restore_disk(repository, disk, target, progress=Silence())
    target.finish()
    return bytes(target.content)


def check(repository: Repository) -> CheckReport:
    return reopened(repository).check(Silence())
