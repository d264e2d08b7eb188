"""One capture of a machine at a time on this host, whatever its state and whoever runs it."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.core.errors import ConflictError, FailedError


@contextmanager
def sole_turn(machine: str, machine_id: str) -> Iterator[None]:
    """Hold the machine's turn. Raises ConflictError if another process has it.

    The turn is a name in the kernel's abstract socket namespace: taken at once or not at all, and given back by the
    kernel however its holder ends. libvirt refuses a second backup job too, but only for running machines, and only
    after half a minute.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as turn:
        try:
            turn.bind(f"\0holdfast/capture/{machine_id}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise FailedError(f"cannot take the turn to capture {machine}: {error.strerror}") from error
            raise ConflictError(
                f"another backup of {machine} is running on this host", hint="wait for it to end", code="busy"
            ) from error
        yield
