"""qemu-nbd as a child that serves one image on a private socket, and ends with us in every case.

It is started without `--persistent`, so it ends when its last client has hung up. One connection is kept here for as
long as the server is wanted: when we are killed, the kernel closes it, and the child goes too.
"""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import nbd

from holdfast.core.errors import FailedError
from holdfast.platforms.nbd.client import Export
from holdfast.platforms.workspace import Workspace, socket_base

_START_S = 30.0
_STOP_S = 120.0  # the last flush of a restored image can take long on a slow disk
_POLL_S = 0.005


class QemuNbd:
    """A server for one image; a context manager. Any number of clients may come and go while it lives."""

    def __init__(self, disk: str, image: Mapping[str, Any], arguments: Sequence[str]) -> None:
        """Serve `image`, a QEMU block device description, and return when it can be read.

        Raises FailedError with qemu-nbd's own words if it does not start.
        """
        self._workspace = Workspace(socket_base())
        self.export = Export(socket=self._workspace.path / "nbd", name="", disk=disk)
        try:
            self._child = self._start(image, arguments)
            self._kept = self._first_connection()
        except BaseException:
            self._workspace.close()
            raise

    def stop(self) -> None:
        """Let the child finish and wait for it. All other clients have hung up. Raises FailedError if it failed."""
        self._kept = None
        try:
            status = self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired as error:
            self._child.kill()
            raise FailedError(f"qemu-nbd did not finish {self.export.disk} within {_STOP_S:.0f} s") from error
        finally:
            complaint = self._complaint()
            self._workspace.close()
        if status != 0:
            raise FailedError(f"qemu-nbd failed at {self.export.disk}: {complaint}")

    def close(self) -> None:
        """End the child whatever it is doing. Never raises; may be called twice, and after `stop`."""
        self._kept = None
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_START_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self, image: Mapping[str, Any], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        command = ["qemu-nbd", "--shared=0", f"--socket={self.export.socket}", *arguments, "json:" + json.dumps(image)]
        try:
            with (self._workspace.path / "log").open("wb") as log:
                # A session of its own: Ctrl-C at the terminal is for us to handle, in our order.
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise FailedError(f"cannot run qemu-nbd: {error.strerror}", hint="install qemu-utils") from error

    def _first_connection(self) -> Any:
        """Connect as soon as the child listens."""
        deadline = time.monotonic() + _START_S
        while True:
            handle = nbd.NBD()
            try:
                handle.set_export_name(self.export.name)
                handle.connect_unix(str(self.export.socket))
            except nbd.Error as error:
                if self._child.poll() is None and time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                    continue
                self._child.kill()
                self._child.wait()
                complaint = self._complaint() or str(error)
                raise FailedError(f"qemu-nbd cannot serve {self.export.disk}: {complaint}") from error
            return handle

    def _complaint(self) -> str:
        try:
            return (self._workspace.path / "log").read_text(errors="replace").strip().removeprefix("qemu-nbd: ")
        except OSError:
            return ""
