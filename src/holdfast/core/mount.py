"""Mounts: restore points that can be used in place, without restoring them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedDisk:
    """A disk of a mounted point, and the URI under which clients find it."""

    name: str
    size_bytes: int
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A machine that runs from a mounted point, and where: the URI of its hypervisor, its identity there, its label."""

    connection: str
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A point that is being served.

    `writable` says whether a throw-away overlay takes writes. `process` is the server's, which lives as long as the
    mount; `log` is the file where it says what it could not read. A mount of kind `boot` has a `tenant`, for whose sake
    a server that dies is started again. Mounts of files have no disks: the files are below `directory` (kind
    `fuse`) or at `url` (`webdav`).
    """

    id: str
    kind: str
    machine: str
    machine_id: str
    point: str
    repository: str
    disks: tuple[MountedDisk, ...]
    writable: bool
    tls: bool
    socket: str | None
    log: str
    process: int
    created_at: datetime
    tenant: Tenant | None = None
    directory: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """A socket in the file system; None for one in the mount's own directory."""

    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """A host, as clients name it, and a port; 0 for any that is free."""

    host: str
    port: int


ListenAddress = UnixAddress | TcpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A directory with `server-cert.pem`, `server-key.pem` and `ca-cert.pem`. Clients need a certificate of that CA."""

    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKeys:
    """A file with a line `NAME:KEY IN HEX` for each client."""

    file: Path


Tls = Certificates | SharedKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How disks are to be served: where, over TLS or not, with a throw-away `overlay` that takes writes or not."""

    address: ListenAddress
    tls: Tls | None
    overlay: bool
