"""Wiring of what outlives the program: servers of mounts."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from holdfast.bootstrap import attending, handover
from holdfast.bootstrap.settings import RepositorySettings
from holdfast.core.errors import DamagedError, HoldfastError, UnreachableError
from holdfast.core.mount import Mount, MountedDisk, Tenant, Terms, UnixAddress
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.progress import Progress
from holdfast.core.selection import select_disk
from holdfast.jobs.hold import reason_of_tenant, tenants_hold
from holdfast.platforms.nbd import mounts
from holdfast.platforms.nbd.failed_reads import FailedRead, take_failure
from holdfast.platforms.nbd.mounts import Describe, Place, Served, Started, UriOf
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
    message = handover.encode(settings, repository, point, disks)
    service = Service(plugin=_PLUGIN, message=lambda _: message, terms=terms)
    return mounts.start(base, service, _describing("nbd", settings, point, disks, terms))


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineService:
    """Serves all disks of a point to the machine `tenant`, whose processes run as `owner` (None: as we do).

    A server that dies is started again. The `socket`, which the machine's definition names, opens to its owner only.
    """

    base: Path
    settings: RepositorySettings
    repository: Repository
    point: RestorePoint
    tenant: Tenant
    socket: Path
    owner: tuple[int, int] | None

    @property
    def identity(self) -> str:
        """The machine's lasting identity."""
        return self.tenant.id

    def begin(self, progress: Progress) -> Mount:
        """Serve, whatever becomes of us, until `end`. Raises as `mounts.start` does."""
        _open_directory(self.socket, self.owner)
        terms = Terms(address=UnixAddress(path=self.socket), tls=None, overlay=False)
        service = Service(plugin=_PLUGIN, message=self._message, terms=terms)
        describe = _describing("boot", self.settings, self.point, self.point.disks, terms, self.tenant)
        started = mounts.start(self.base, service, describe, self._attend)
        for warning in started.warnings:
            progress.warning(warning)
        return started.mount

    def end(self) -> None:
        """Serve no more, and hold the point no more."""
        for mount in mounts.mounts(self.base):
            if mount.tenant and mount.tenant.id == self.tenant.id:
                mounts.end(self.base, mount)

    def _message(self, workspace: Path) -> bytes:
        told = handover.Tenancy(hold=tenants_hold(UUID(self.tenant.id)), reason=reason_of_tenant(self.tenant.name))
        return handover.encode(self.settings, self.repository, self.point, self.point.disks, workspace, told)

    def _attend(self, served: Served) -> None:
        if self.owner is not None:
            os.chown(self.socket, *self.owner)
        attending.start(served, _PLUGIN, self._message(served.workspace))


class ServedForTrial:
    """TrialDisks: all disks of a point."""

    def __init__(self, repository: Repository, point: RestorePoint, socket: Path, workspace: Path) -> None:
        self._repository = repository
        self._point = point
        self.socket = socket
        self._workspace = workspace

    def answer_for_reads(self) -> None:
        """Read again what the server could not give, or not in time."""
        failed = take_failure(self._workspace)
        if failed is not None and not self._is_damaged(failed):
            raise UnreachableError(
                f"{failed.export} of {self._point.machine} could not be read for a while: this says nothing of it",
                hint="see that the repository can be reached all the time, and try it again",
                code="reads-failed",
            )

    def _is_damaged(self, read: FailedRead) -> bool:
        try:
            device = self._repository.open_device(select_disk(self._point, read.export).root)
            device.read_into(read.offset, memoryview(bytearray(read.length)))
        except DamagedError:
            return any(self._repository.storage.list("log/"))  # of a directory that is not mounted all is missing
        except HoldfastError:
            return False
        return False


@contextmanager
def serve_for_trial(
    base: Path,
    settings: RepositorySettings,
    repository: Repository,
    point: RestorePoint,
    owner: tuple[int, int] | None,
    progress: Progress,
) -> Iterator[ServedForTrial]:
    """Serve all disks of a point to a machine whose processes run as `owner`.

    Nothing outlives us. Raises as `mounts.serving` does.
    """
    path = base / f"{uuid4()}.nbd"
    _open_directory(path, owner)
    terms = Terms(address=UnixAddress(path=path), tls=None, overlay=False)
    message = partial(handover.encode, settings, repository, point, point.disks)
    service = Service(plugin=_PLUGIN, message=message, terms=terms)
    with mounts.serving(base, service, _describing("trial", settings, point, point.disks, terms)) as started:
        if owner is not None:
            os.chown(path, *owner)
        for warning in started.warnings:
            progress.warning(warning)
        yield ServedForTrial(repository, point, path, mounts.directory_of(base, started.mount))


def _open_directory(socket: Path, owner: tuple[int, int] | None) -> None:
    """Let the owner pass through the socket's directory, not see what else is there."""
    place = socket.parent
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner is not None and owner[0] != os.geteuid():
        place.chmod(place.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)


def _describing(
    kind: str,
    settings: RepositorySettings,
    point: RestorePoint,
    disks: Sequence[PointDisk],
    terms: Terms,
    tenant: Tenant | None = None,
) -> Describe:
    def describe(place: Place, uri_of: UriOf) -> Mount:
        return Mount(
            id=place.id,
            kind=kind,
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
            tenant=tenant,
        )

    return describe


def is_attended(base: Path, mount: Mount) -> bool:
    """Whether a server of this mount that dies is started again."""
    return mounts.is_attended(mounts.directory_of(base, mount))


def served(base: Path) -> list[Mount]:
    """What is served on this host, oldest first."""
    return mounts.mounts(base)


def end_serving(base: Path, mount: Mount) -> None:
    """End one server, and wait for it. Raises DeniedError, FailedError."""
    mounts.end(base, mount)
