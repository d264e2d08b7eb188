"""What the program hands to the server of a mount: which repository, its keys, and what of it to serve."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from holdfast import repository
from holdfast.bootstrap.settings import Options, RepositorySettings, read_storage_settings
from holdfast.bootstrap.wiring import open_storage
from holdfast.core.errors import NotFoundError
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.jobs.export import disks_to_export


class _Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The environment, which the server inherits, says how to reach the storage."""

    url: str
    bandwidth: str
    cache: str
    opened: bytes
    point: str
    disks: list[str]
    workspace: str | None = None
    tenancy: "Tenancy | None" = None


class Tenancy(msgspec.Struct, frozen=True, kw_only=True):
    """What a server must know that a machine depends on for long: the id of its hold, and why it is held."""

    hold: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came out of it; with the mount's directory if a machine runs from it."""

    repository: repository.Repository
    point: RestorePoint
    disks: Sequence[PointDisk]
    workspace: Path | None
    tenancy: Tenancy | None


def encode(
    settings: RepositorySettings,
    opened: repository.Repository,
    point: RestorePoint,
    disks: Sequence[PointDisk],
    workspace: Path | None = None,
    tenancy: Tenancy | None = None,
) -> bytes:
    """The message. It is as secret as the keys. `workspace` is the mount's directory, for a machine's disks."""
    handover = _Handover(
        url=settings.storage.url,
        bandwidth=settings.storage.bandwidth.text(),
        cache=str(settings.cache),
        opened=repository.hand_over(opened),
        point=point.id,
        disks=[disk.name for disk in disks],
        workspace=None if workspace is None else str(workspace),
        tenancy=tenancy,
    )
    return msgspec.msgpack.encode(handover)


def decode(message: bytes) -> Taken:
    """Open the same repository, and find the point. Raises NotFoundError, and as opening a storage does."""
    handover = msgspec.msgpack.decode(message, type=_Handover)
    options = Options(repository=handover.url, limit_rate=handover.bandwidth)
    storage = open_storage(read_storage_settings(options, os.environ))
    opened = repository.take_over(storage, handover.opened, Path(handover.cache))
    standing = opened.state().standings.get(handover.point)
    if standing is None:
        raise NotFoundError(f"point {handover.point} was purged meanwhile", code="no-such-point")
    point = standing.point
    disks = disks_to_export(point, handover.disks)
    workspace = None if handover.workspace is None else Path(handover.workspace)
    return Taken(repository=opened, point=point, disks=disks, workspace=workspace, tenancy=handover.tenancy)
