"""Our side of libguestfs: lends a volume's bytes, starts the process with the appliance, asks it, ends it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.errors import FailedError, HoldfastError
from holdfast.core.foreign import Blocks, ForeignAnswer, ForeignQuestion
from holdfast.platforms.guestfs.order import Order
from holdfast.platforms.nbd.lending import Lending
from holdfast.platforms.workspace import Workspace, socket_base

_START_S: Final = 300.0
"""The first start on a host builds the appliance; without KVM it takes half a minute to boot."""
_ANSWER_S: Final = 120.0
_LARGEST_ANSWER: Final = 16 * 1024 * 1024


class GuestfsReader:
    """Reads volumes through libguestfs; see ForeignReader. `tell` is told of each that it begins with."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    @property
    def lacking(self) -> str:
        """See ForeignReader."""
        return "" if find_spec("guestfs") else "libguestfs would read it: install python3-guestfs"

    def open(self, name: str, kind: str, blocks: Blocks) -> "GuestfsFiles":
        """See ForeignReader."""
        self._tell(f"reading {name} through libguestfs")
        return GuestfsFiles(name, kind, blocks)


class GuestfsFiles:
    """The files of one volume; see ForeignFiles."""

    def __init__(self, name: str, kind: str, blocks: Blocks) -> None:
        """Start the appliance. Raises FailedError if it does not start, or takes too long."""
        self._name = name
        self._workspace = Workspace(socket_base())
        self._log = self._workspace.path / "log"
        self._lending: Lending | None = None
        self._child: subprocess.Popen[bytes] | None = None
        try:
            place = self._workspace.path / "nbd"
            self._lending = Lending(blocks, place)
            self._connection, self._child = self._start()
            order = Order(socket=str(place), kind=kind, scratch=str(self._workspace.path))
            self._connection.send_bytes(msgspec.msgpack.encode(order))
            self._refusal = self._received(_START_S)
        except BaseException:
            self.close()
            raise

    def answer(self, question: ForeignQuestion) -> ForeignAnswer:
        """See ForeignFiles."""
        if self._refusal.reason:
            return self._refusal
        assert self._lending is not None
        self._lending.trouble = None
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(question))
        except OSError as error:
            raise self._ended() from error
        answer = self._received(_ANSWER_S)
        if answer.reason and self._lending.trouble is not None:
            raise self._lending.trouble
        return answer

    def close(self) -> None:
        """See ForeignFiles. The appliance is in the child's process group, and ends with it."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._connection.close()
            self._child = None
        if self._lending is not None:
            self._lending.close()
        self._workspace.close()

    def _start(self) -> tuple[Connection, "subprocess.Popen[bytes]"]:
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            try:
                child = subprocess.Popen(
                    [sys.executable, "-m", "holdfast.platforms.guestfs.appliance", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    env=_environment(self._workspace.path),
                    cwd="/",
                    start_new_session=True,  # Ctrl-C at the terminal is for us to handle
                )
            except OSError as error:
                ours.close()
                raise FailedError(f"cannot start libguestfs: {error.strerror}", code="no-appliance") from error
        return Connection(ours.detach()), child

    def _received(self, patience_s: float) -> ForeignAnswer:
        try:
            if not self._connection.poll(patience_s):
                self.close()
                raise FailedError(
                    f"volume {self._name}: libguestfs has not answered for {patience_s:.0f} s",
                    hint="where KVM hangs, set LIBGUESTFS_BACKEND_SETTINGS=force_tcg; or restore the disk",
                    code="appliance-too-slow",
                )
            message = self._connection.recv_bytes(_LARGEST_ANSWER)
            return msgspec.msgpack.decode(message, type=ForeignAnswer)
        except (EOFError, OSError, msgspec.MsgspecError) as error:
            raise self._ended() from error

    def _ended(self) -> HoldfastError:
        complaint = _last_line(self._log)
        self.close()
        return FailedError(
            f"volume {self._name}: libguestfs does not run, or no more: {complaint or 'it says nothing'}",
            hint="libguestfs-test-tool shows why it does not start; or restore the disk to read it elsewhere",
            code="no-appliance",
        )


def _environment(scratch: Path) -> dict[str, str]:
    """What libguestfs, and supermin that builds its appliance, are told by their user; nothing else of ours."""
    path = os.pathsep.join(os.path.abspath(place) for place in sys.path if place)  # noqa: PTH100 - may be an archive
    told = {key: value for key, value in os.environ.items() if key.startswith(("LIBGUESTFS_", "SUPERMIN_"))}
    ours = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**ours, "LC_ALL": "C.UTF-8", "LIBGUESTFS_TMPDIR": str(scratch), **told}


def _last_line(log: Path) -> str:
    with suppress(OSError):
        return log.read_text(errors="replace").strip().rpartition("\n")[2][:300]
    return ""
