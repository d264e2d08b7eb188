"""Seeing to it that a mount is served: whenever its server dies, another one listens at the same socket.

The attendant keeps the listening socket open, so clients that come while there is no server wait instead of failing.
It lives in a process of its own, holds the mount's lock as the server does, and ends when the mount is to end.
"""

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from holdfast.core.errors import HoldfastError
from holdfast.platforms.nbd.mounts import ATTENDED, ENDING, Served, write_down
from holdfast.platforms.nbd.nbdkit import Service, nbdkit
from holdfast.platforms.outliving import Starting

_LOOK_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_END_S: Final = 30.0


class Attendant:
    """Attends one mount. `look` is called about twice a second, and told whether the server had to be started anew."""

    def __init__(self, served: Served, service: Service, look: Callable[[bool], None]) -> None:
        self._served = served
        self._service = service
        self._look = look
        self._mark = (served.workspace / ATTENDED).open("wb")
        fcntl.flock(self._mark, fcntl.LOCK_EX)

    def attend(self) -> None:
        """Until the mount is to end; then end the server."""
        process = self._served.mount.process
        server = os.pidfd_open(process)
        is_new = False
        while not self._is_over():
            if _has_ended(server, _LOOK_S):
                os.close(server)
                with suppress(ChildProcessError):
                    os.waitpid(process, 0)
                again = self._start_again()
                if again is None:
                    return
                process, server, is_new = again, os.pidfd_open(again), True
            self._look(is_new)
            is_new = False
        self._end(server, process)

    def _start_again(self) -> int | None:
        """Try, at ever longer intervals, until a server serves. Returns its number; None once the mount is to end."""
        pause = _LOOK_S
        while not self._is_over():
            starting = Starting(nbdkit(self._service), self._served.listener.fileno(), self._log, self._served.lock)
            try:
                starting.hand_over(self._service.message(self._served.workspace))
                write_down(self._served.workspace, replace(self._served.mount, process=starting.process))
                starting.let_go()
            except (HoldfastError, OSError) as error:
                starting.end()
                self._complain(error)
            else:
                return starting.process
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        return None

    def _end(self, server: int, process: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(server, signal.SIGTERM)
            if not _has_ended(server, _END_S):
                signal.pidfd_send_signal(server, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process, 0)

    def _is_over(self) -> bool:
        workspace = self._served.workspace
        return (workspace / ENDING).exists() or not workspace.exists()

    @property
    def _log(self) -> Path:
        return self._served.workspace / "log"

    def _complain(self, error: Exception) -> None:
        with suppress(OSError), self._log.open("a") as log:
            log.write(f"holdfast: cannot serve again yet: {error}\n")


def _has_ended(server: int, timeout_s: float) -> bool:
    ended = select.poll()
    ended.register(server, select.POLLIN)
    return bool(ended.poll(timeout_s * 1000))
