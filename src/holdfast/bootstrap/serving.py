"""Wiring of what outlives the program: servers of mounts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from holdfast.bootstrap import handover
from holdfast.bootstrap.settings import RepositorySettings
from holdfast.core.mount import Mount, MountedDisk, Terms
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.platforms.nbd import mounts
from holdfast.platforms.nbd.mounts import Place, Started, UriOf
from holdfast.platforms.nbd.nbdkit import Service
from holdfast.repository import Repository

_PLUGIN = Path(__file__).with_name("nbd_plugin.py")


def serve_nbd(
    base: Path,
    settings: RepositorySettings,
    repository: Repository,
    point: RestorePoint,
    disks: Sequence[PointDisk],
    terms: Terms,
) -> Started:
    """Serve these disks of a point over NBD until somebody ends it. Raises as `mounts.start` does."""
    service = Service(plugin=_PLUGIN, message=handover.encode(settings, repository, point, disks), terms=terms)

    def describe(place: Place, uri_of: UriOf) -> Mount:
        return Mount(
            id=place.id,
            kind="nbd",
            machine=point.machine,
            machine_id=point.machine_id,
            point=point.id,
            repository=settings.storage.url,
            disks=tuple(
                MountedDisk(name=disk.name, size_bytes=disk.size_bytes, uri=uri_of(disk.name)) for disk in disks
            ),
            writable=terms.overlay,
            tls=terms.tls is not None,
            socket=place.socket,
            log=place.log,
            process=place.process,
            created_at=datetime.now(UTC),
        )

    return mounts.start(base, service, describe)


def served(base: Path) -> list[Mount]:
    """What is served on this host, oldest first."""
    return mounts.mounts(base)


def end_serving(base: Path, mount: Mount) -> None:
    """End one server, and wait for it. Raises DeniedError, FailedError."""
    mounts.end(base, mount)
