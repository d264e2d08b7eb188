"""The process that attends a mount from which a machine runs: its server is started again, and so is the machine.

`attending` starts it with a conversation, the listening socket and the mount's lock, and tells it the rest, keys
included. It is nobody's child for long, and outlives whoever started it.
"""

import fcntl
import socket
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from holdfast.bootstrap.attending import answer, take_order
from holdfast.bootstrap.memory import forbid_core_dumps
from holdfast.core.mount import Terms, UnixAddress
from holdfast.platforms.libvirt.tenant import Tending
from holdfast.platforms.nbd.attendant import Attendant
from holdfast.platforms.nbd.client import Export
from holdfast.platforms.nbd.mounts import Served
from holdfast.platforms.nbd.nbdkit import Service


def _main(conversation: int, listener: int, lock: int) -> None:
    forbid_core_dumps()
    for each in (listener, lock):
        fcntl.fcntl(each, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    told = Connection(conversation)
    order = take_order(told)
    mount, workspace = order.mount, Path(order.workspace)
    assert mount.tenant is not None
    assert mount.socket is not None
    served = Served(mount=mount, workspace=workspace, listener=socket.socket(fileno=listener), lock=lock)
    terms = Terms(address=UnixAddress(path=Path(mount.socket)), tls=None, overlay=False)
    service = Service(plugin=Path(order.plugin), message=lambda _: order.message, terms=terms)
    export = Export(socket=Path(mount.socket), name="", disk=mount.tenant.name)
    attendant = Attendant(served, service, Tending(mount.tenant, workspace, export).look)
    answer(told)
    attendant.attend()


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
