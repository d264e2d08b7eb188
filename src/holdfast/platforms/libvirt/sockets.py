"""Where QEMU may make the socket that it serves a backup on.

Confined by AppArmor or SELinux, QEMU may create files in few places; the domain's own directory under libvirt's state
is one of them (`virt-aa-helper` allows `/var/lib/libvirt/qemu/domain-ID-NAME/*`). Where there is no such directory to
be seen, a session's or a private libvirt's, a directory of ours is used, made QEMU's.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from holdfast.core.errors import FailedError, RefusedError
from holdfast.platforms.libvirt.domain_xml import qemu_owner
from holdfast.platforms.libvirt.survey import Survey
from holdfast.platforms.workspace import Workspace, socket_base

_STATE = Path("/var/lib/libvirt/qemu")
_LONGEST = 107  # bytes in sockaddr_un.sun_path, without its final zero


def refuse_distant(uri: str) -> None:
    """Raise RefusedError for a hypervisor on another host: its files and sockets are not those of this one."""
    host = urlsplit(uri).hostname
    if host not in {None, "localhost", "127.0.0.1", "::1"}:
        raise RefusedError(
            f"{uri} is on another host, and disks are read and written on the hypervisor's own",
            hint=f"run Holdfast on {host}",
            code="distant",
        )


def make_place(uri: str, surveyed: Survey, run: int, stack: ExitStack) -> Path:
    """A directory in which the domain's QEMU may create a socket and we may connect to it."""
    own = [path for path in _STATE.glob(f"domain-{run}-*") if surveyed.name.startswith(path.name.split("-", 2)[2])]
    address = urlsplit(uri)
    if address.path == "/system" and "socket" not in parse_qs(address.query) and len(own) == 1:
        return own[0]
    workspace = stack.enter_context(Workspace(socket_base()))
    owner = qemu_owner(surveyed.xml)
    if owner is not None and os.geteuid() == 0:
        os.chown(workspace.path, *owner)
    return workspace.path


def name_socket(place: Path, checkpoint: str) -> Path:
    """A path for the socket in `place`. Raises FailedError if it is too long for one."""
    path = place / f"{checkpoint.rpartition('-')[2]}.nbd"
    if len(os.fsencode(path)) > _LONGEST:
        raise FailedError(f"{path} is too long a path for a socket", hint="set TMPDIR to a short path")
    return path
