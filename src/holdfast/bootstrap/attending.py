"""Starting an attendant: the process of `attendant`, which needs libvirt and so is nothing to import here."""

import os
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.errors import FailedError
from holdfast.core.mount import Mount
from holdfast.platforms.nbd.mounts import Served

_READY: Final = b"ready"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be attended."""

    mount: Mount
    workspace: str
    plugin: str
    message: bytes


def start(served: Served, plugin: Path, message: bytes) -> None:
    """Start an attendant of what is served, and return once it attends. Raises FailedError."""
    ours, theirs = Pipe()
    handed = (theirs.fileno(), served.listener.fileno(), served.lock)
    with (served.workspace / "attendant.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "holdfast.bootstrap.attendant", *map(str, handed)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=handed,
            env={**_environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )
    theirs.close()
    order = Order(mount=served.mount, workspace=str(served.workspace), plugin=str(plugin), message=message)
    try:
        ours.send_bytes(msgspec.msgpack.encode(order))
        ours.recv_bytes()
    except (EOFError, OSError) as error:
        child.kill()
        child.wait()
        said = (served.workspace / "attendant.log").read_text(errors="replace")[-500:]
        raise FailedError(f"nobody attends the server: {said}", code="not-attended") from error
    finally:
        ours.close()
    child.returncode = 0  # it is not waited for


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "PASSPHRASE" not in name}


def take_order(conversation: Connection) -> Order:
    """For the attendant: what it is to attend."""
    return msgspec.msgpack.decode(conversation.recv_bytes(), type=Order)


def answer(conversation: Connection) -> None:
    """For the attendant: it attends from now on."""
    conversation.send_bytes(_READY)
    conversation.close()
