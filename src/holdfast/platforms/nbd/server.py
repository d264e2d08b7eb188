"""qemu-nbd as a child that serves one image on a private socket, and ends with us in every case.

It is started without `--persistent`, so it ends when its last client has hung up. The first client is a connection of
ours that waits in the listening socket's queue before the child exists, and is kept for as long as the server is
wanted: whenever we are killed, from the first instant on, the kernel hangs up and the child goes too.
"""

import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import nbd

from holdfast.core.errors import FailedError
from holdfast.platforms.nbd.client import Export
from holdfast.platforms.workspace import Workspace, socket_base

_START_S = 60.0
_STOP_S = 120.0  # the last flush of a restored image can take long on a slow disk
_QUEUE = 64
# systemd's socket activation, which qemu-nbd and nbdkit understand: the listening socket is descriptor 3, and
# LISTEN_PID names the process it is for, whose number only the process itself knows in time.
HAND_OVER = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'


class QemuNbd:
    """A server for one image; a context manager. Any number of clients may come and go while it lives."""

    def __init__(self, disk: str, image: Mapping[str, Any], arguments: Sequence[str]) -> None:
        """Serve `image`, a QEMU block device description, and return when it can be read.

        Raises FailedError with qemu-nbd's own words if it does not start.
        """
        self._workspace = Workspace(socket_base())
        self.export = Export(socket=self._workspace.path / "nbd", name="", disk=disk)
        self._log = self._workspace.path / "log"
        self._kept: Any = None
        self._child: subprocess.Popen[bytes] | None = None
        try:
            with socket.socket(socket.AF_UNIX) as ours:
                self._child = self._start(ours, image, arguments)
                self._kept = self._shake_hands(ours)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Let the child finish and wait for it. All other clients have hung up. Raises FailedError if it failed."""
        assert self._child is not None
        self._kept = None
        try:
            status = self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"qemu-nbd did not finish {self.export.disk} within {_STOP_S:.0f} s") from error
        if status != 0:
            raise FailedError(f"qemu-nbd failed at {self.export.disk}: {self._complaint()}")
        self.close()

    def close(self) -> None:
        """End the child whatever it is doing. Never raises; may be called twice, and after `stop`."""
        self._kept = None
        if self._child is not None and self._child.poll() is None:
            self._child.kill()  # what it held is thrown away; `stop` is for what is to be kept
            self._child.wait()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(
        self, ours: socket.socket, image: Mapping[str, Any], arguments: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        """Queue `ours` at a listening socket, and start the child upon that."""
        command = ["qemu-nbd", "--shared=0", *arguments, "json:" + json.dumps(image)]
        try:
            with socket.socket(socket.AF_UNIX) as listener, self._log.open("wb") as log:
                listener.bind(str(self.export.socket))
                listener.listen(_QUEUE)
                ours.connect(str(self.export.socket))
                return subprocess.Popen(
                    ["sh", "-c", HAND_OVER, "sh", *command],
                    stdin=listener.fileno(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C at the terminal is for us to handle, in our order
                )
        except OSError as error:
            raise FailedError(f"cannot start qemu-nbd: {error.strerror or error}", hint="install qemu-utils") from error

    def _shake_hands(self, ours: socket.socket) -> Any:
        """Wait until the child answers on our queued connection; it hangs up instead if it cannot serve the image."""
        handle = nbd.NBD()
        deadline = time.monotonic() + _START_S
        try:
            handle.set_export_name(self.export.name)
            handle.aio_connect_socket(ours.detach())
            while handle.aio_is_connecting():
                if handle.poll(round(_START_S * 1000)) == 0 or time.monotonic() > deadline:
                    raise FailedError(f"qemu-nbd does not open {self.export.disk} within {_START_S:.0f} s")
        except nbd.Error as error:
            complaint = self._complaint() or str(error)
            raise FailedError(f"qemu-nbd cannot serve {self.export.disk}: {complaint}") from error
        return handle

    def _complaint(self) -> str:
        try:
            return self._log.read_text(errors="replace").strip().removeprefix("qemu-nbd: ")
        except OSError:
            return ""
