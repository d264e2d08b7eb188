"""What nbdkit loads: the callbacks of nbdkit-python-plugin(3), over the disks of one point, an export for each.

nbdkit finds the functions by their names in the main module, so what lives as long as the server is a global here.
"""

import errno
import os
import signal
import sys
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext
from multiprocessing.connection import Connection

import nbdkit  # provided by the interpreter inside nbdkit

from holdfast.bootstrap.handover import Taken, decode
from holdfast.bootstrap.memory import forbid_core_dumps
from holdfast.core.errors import FailedError, HoldfastError
from holdfast.jobs.export import exported
from holdfast.jobs.hold import held, kept
from holdfast.platforms.nbd.failed_reads import FailedRead, Reads
from holdfast.platforms.nbd.mounts import ENDING
from holdfast.platforms.outliving import answer_failure, answer_ready
from holdfast.repository import BlockDevice

API_VERSION = 2
_MAP_BYTES = 256 * 1024 * 1024
"""How much of a disk one answer maps at most: the maps of its regions are read for it."""
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_COMPLAINTS = 1000
"""Different failures that the log tells of; whoever reads a damaged block reads it again and again."""


class _Server:
    """What the callbacks share."""

    def __init__(self) -> None:
        self.conversation: Connection | None = None
        self.lasting = ExitStack()
        self.devices: dict[str, BlockDevice] = {}
        self._reads: Reads | None = None
        self._told: set[str] = set()
        self._telling = threading.Lock()

    def make_ready(self) -> None:
        """Open what we are told to serve, answer, and wait until we are let go."""
        assert self.conversation is not None
        notes = _Notes()
        try:
            taken = decode(self.conversation.recv_bytes())
            self._reads = Reads(taken.workspace) if taken.workspace is not None else None
            devices = exported(taken.repository, taken.disks, _holding(taken, notes))
            self.devices = dict(self.lasting.enter_context(devices))
        except HoldfastError as error:
            answer_failure(self.conversation, error)
            raise
        if not answer_ready(self.conversation, notes.warnings):
            self.lasting.close()
            raise FailedError("nobody waits for this server any more")
        self.conversation.close()

    def end_when_told(self) -> None:
        """From now on a signal ends us, whoever is connected: nbdkit would wait until its clients have gone.

        The interpreter's own handler only writes to a pipe, in whatever thread the signal strikes.
        """
        signalled, wake_up = os.pipe()
        os.set_blocking(wake_up, False)
        signal.set_wakeup_fd(wake_up)
        for each in _ENDING:
            signal.signal(each, lambda _number, _frame: None)
        threading.Thread(target=self._end, args=[signalled], name="end", daemon=True).start()
        if self._reads is not None:
            self._reads.watch()

    def _end(self, signalled: int) -> None:
        os.read(signalled, 1)
        try:
            self.lasting.close()
        finally:
            os._exit(0)

    def device(self, export: str) -> BlockDevice:
        """The disk of that name; the only one has no need of it."""
        if not export and len(self.devices) == 1:
            (only,) = self.devices.values()
            return only
        if export not in self.devices:
            nbdkit.set_error(errno.ENOENT)
            raise FailedError(f"no disk {export!r}; there are {', '.join(self.devices)}")
        return self.devices[export]

    def tell(self, text: str) -> None:
        """Once in the log."""
        with self._telling:
            if text not in self._told and len(self._told) < _COMPLAINTS:
                self._told.add(text)
                sys.stderr.write(f"holdfast: {text}\n")
                sys.stderr.flush()

    def reading(self, device: BlockDevice, offset: int, length: int) -> AbstractContextManager[None]:
        """Within, a machine waits for these bytes: whoever answers for it learns if it got none, or waited for long."""
        if self._reads is None:
            return nullcontext()
        export = next(name for name, each in self.devices.items() if each is device)
        return self._reads.reading(FailedRead(export=export, offset=offset, length=length))


def _holding(taken: Taken, notes: "_Notes") -> AbstractContextManager[None]:
    """What holds the point: for a machine that runs from it, until that is over, however often servers come and go."""
    if taken.tenancy is None or taken.workspace is None:
        return held(taken.repository, taken.point, notes)
    ending = taken.workspace / ENDING
    return kept(taken.repository, taken.point, taken.tenancy.hold, taken.tenancy.reason, ending.exists, notes)


class _Notes:
    """Progress of making ready: what the user should know of it."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def step(self, text: str) -> None:
        """Only trouble is told in steps here: a point that could not be held."""
        self.warnings.append(text)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Ignore it."""

    def warning(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


_server = _Server()


def config(key: str, value: str) -> None:
    """`conversation=N`: the descriptor of the socket on which we are told what to serve."""
    if key != "conversation":
        raise FailedError(f"unknown parameter {key}")
    _server.conversation = Connection(int(value))


def thread_model() -> int:
    """Reads run side by side: what they spend their time on works without the interpreter's lock."""
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def get_ready() -> None:
    """Before anything else: no core dump holds our keys."""
    forbid_core_dumps()


def after_fork() -> None:
    """Threads may be started from here on."""
    _server.make_ready()
    _server.end_when_told()


def list_exports(_readonly: bool, _is_tls: bool) -> list[str]:
    """A name for each disk."""
    return list(_server.devices)


def default_export(_readonly: bool, _is_tls: bool) -> str:
    """The only disk, or none."""
    return next(iter(_server.devices)) if len(_server.devices) == 1 else ""


def open(_readonly: bool) -> BlockDevice:  # noqa: A001 - nbdkit's name for it
    """A client comes."""
    return _server.device(nbdkit.export_name())


def get_size(device: BlockDevice) -> int:
    """Exact size."""
    return device.size_bytes


def can_multi_conn(_device: BlockDevice) -> bool:
    """All clients see the same bytes."""
    return True


def can_extents(_device: BlockDevice) -> bool:
    """Holes are known."""
    return True


def pread(device: BlockDevice, buffer: bytearray, offset: int, _flags: int) -> None:
    """Read. What cannot be proved is an I/O error, never other bytes."""
    try:
        with _server.reading(device, offset, len(buffer)):
            device.read_into(offset, memoryview(buffer))
    except HoldfastError as error:
        _server.tell(f"bytes {offset} to {offset + len(buffer)}: {error.message}")
        nbdkit.set_error(errno.EIO)
        raise


def extents(device: BlockDevice, count: int, offset: int, _flags: int) -> list[tuple[int, int, int]]:
    """Data and holes, from `offset` on, of as much as is mapped at once."""
    zero = nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO
    end = min(offset + min(count, _MAP_BYTES), device.size_bytes)
    found, at = [], offset
    try:
        for held in device.data(offset, end):
            found += [(at, held.start - at, zero)] if held.start > at else []
            found.append((held.start, held.length, 0))
            at = held.end
    except HoldfastError as error:
        _server.tell(f"mapping {offset} to {end}: {error.message}")
        nbdkit.set_error(errno.EIO)
        raise
    return found + ([(at, end - at, zero)] if end > at else [])
