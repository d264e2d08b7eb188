"""Wiring of mounts of files: the server is a program of ours, and lives as long as the mount."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from holdfast.bootstrap import handover
from holdfast.bootstrap.settings import RepositorySettings
from holdfast.core.mount import Mount
from holdfast.core.point import RestorePoint
from holdfast.filesystems import Wanted
from holdfast.platforms.nbd import mounts
from holdfast.platforms.nbd.mounts import Place, Started
from holdfast.platforms.outliving import Program
from holdfast.repository import Repository


class FuseOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told: the handover of the repository, which volumes to show, and where."""

    handed: bytes
    directory: str
    volume: str | None
    keys: dict[str, bytes]


def serve_directory(
    base: Path,
    settings: RepositorySettings,
    repository: Repository,
    point: RestorePoint,
    directory: Path,
    wanted: Wanted,
) -> Started:
    """Show a point's files below a directory until somebody ends it. Raises as `mounts.start_program` does."""
    order = FuseOrder(
        handed=handover.encode(settings, repository, point, point.disks),
        directory=str(directory),
        volume=wanted.volume,
        keys=dict(wanted.keys),
    )

    def describe(place: Place) -> Mount:
        return Mount(
            id=place.id,
            kind="fuse",
            machine=point.machine,
            machine_id=point.machine_id,
            point=point.id,
            repository=settings.storage.url,
            disks=(),
            writable=False,
            tls=False,
            socket=None,
            log=place.log,
            process=place.process,
            created_at=datetime.now(UTC),
            directory=str(directory),
        )

    program = Program(
        name="the mount's server",
        hint="install fuse3; `holdfast doctor` looks at it",
        command=lambda conversation: [sys.executable, "-m", "holdfast.bootstrap.fuse_server", str(conversation)],
    )
    return mounts.start_program(base, program, msgspec.msgpack.encode(order), describe)
