"""Wiring of mounts of files: the server is a program of ours, and lives as long as the mount."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from holdfast.bootstrap import handover
from holdfast.bootstrap.settings import RepositorySettings
from holdfast.bootstrap.wiring import foreign_reader
from holdfast.core.mount import Certificates, Mount, TcpAddress
from holdfast.core.point import RestorePoint
from holdfast.filesystems import Wanted
from holdfast.jobs.browse import Browser, browsing
from holdfast.jobs.notes import Notes
from holdfast.platforms.nbd import mounts
from holdfast.platforms.nbd.mounts import Place, Started
from holdfast.platforms.nbd.nbdkit import listening_over_tcp, served_at
from holdfast.platforms.outliving import Program
from holdfast.repository import Repository

USER: Final = "holdfast"
"""Who clients of WebDAV say they are."""
_PASSWORD_BYTES: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesOfPoint:
    """What is to be shown."""

    settings: RepositorySettings
    repository: Repository
    point: RestorePoint
    wanted: Wanted

    @property
    def handed(self) -> bytes:
        """What the server needs to find it."""
        return handover.encode(self.settings, self.repository, self.point, self.point.disks)

    def mount(self, place: Place, *, directory: str | None = None, url: str | None = None) -> Mount:
        """A mount of it, in one place or the other."""
        return Mount(
            id=place.id,
            kind="webdav" if directory is None else "fuse",
            machine=self.point.machine,
            machine_id=self.point.machine_id,
            point=self.point.id,
            repository=self.settings.storage.url,
            disks=(),
            writable=False,
            tls=url is not None and url.startswith("https:"),
            socket=None,
            log=place.log,
            process=place.process,
            created_at=datetime.now(UTC),
            directory=directory,
            url=url,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedWebdav:
    """A mount, and the password that nothing else tells."""

    started: Started
    password: str


class FilesOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a server of files is told: the handover of the repository, and which volumes to show."""

    handed: bytes
    volume: str | None
    keys: dict[str, bytes]


class FuseOrder(FilesOrder, frozen=True, kw_only=True):
    """The same, and where."""

    directory: str


class WebdavOrder(FilesOrder, frozen=True, kw_only=True):
    """The same, and the password, and the directory of the certificates."""

    password: str
    certificates: str | None


@contextmanager
def browsing_handed(order: FilesOrder, notes: Notes) -> Iterator[tuple[RestorePoint, Browser]]:
    """For a server: the point whose files it is to show, and who looks into them. Raises as `browsing` does."""
    taken = handover.decode(order.handed)
    wanted = Wanted(volume=order.volume, keys=order.keys, foreign=foreign_reader(notes.step))
    with browsing(taken.repository, taken.point, taken.disks, wanted, notes) as browser:
        yield taken.point, browser


def serve_directory(base: Path, files: FilesOfPoint, directory: Path) -> Started:
    """Show them below a directory until somebody ends it. Raises as `mounts.start_program` does."""
    order = FuseOrder(
        handed=files.handed, directory=str(directory), volume=files.wanted.volume, keys=dict(files.wanted.keys)
    )
    program = _program("holdfast.bootstrap.fuse_server", "install fuse3; `holdfast doctor` looks at it")
    with Path(os.devnull).open("rb") as nothing:
        return mounts.start_program(
            base,
            program,
            nothing.fileno(),
            msgspec.msgpack.encode(order),
            lambda place: files.mount(place, directory=str(directory)),
        )


def serve_webdav(base: Path, files: FilesOfPoint, address: TcpAddress, tls: Certificates | None) -> StartedWebdav:
    """Serve them over WebDAV until somebody ends it. Raises as `mounts.start_program` does, ConflictError."""
    order = WebdavOrder(
        handed=files.handed,
        volume=files.wanted.volume,
        keys=dict(files.wanted.keys),
        password=secrets.token_urlsafe(_PASSWORD_BYTES),
        certificates=None if tls is None else str(tls.directory),
    )
    program = _program("holdfast.bootstrap.webdav_server", "run it again; the message says what ended it")
    with listening_over_tcp(address) as listener:
        url = f"{'http' if tls is None else 'https'}://{served_at(listener, address)}/"
        started = mounts.start_program(
            base,
            program,
            listener.fileno(),
            msgspec.msgpack.encode(order),
            lambda place: files.mount(place, url=url),
        )
    return StartedWebdav(started=started, password=order.password)


def _program(module: str, hint: str) -> Program:
    return Program(
        name="the mount's server",
        hint=hint,
        command=lambda conversation: [sys.executable, "-m", module, str(conversation)],
    )
