"""Letting a machine go on that was paused because we did not serve its disks.

QEMU pauses a machine whose read or write failed. Many things fail reads and writes: an overlay's storage that is full
or broken, somebody who paused it on purpose. So it is resumed only if libvirt says that it was an error, that this was
not for want of space, and if the error was ours: our server died lately, or it says itself which read it failed, and
that read succeeds now.
"""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import libvirt

from holdfast.core.errors import HoldfastError
from holdfast.core.mount import Tenant
from holdfast.platforms.libvirt.standstill import standstill
from holdfast.platforms.nbd.client import Export, NbdReader
from holdfast.platforms.nbd.failed_reads import FailedRead, take_failure

_EXCUSED_S: Final = 60.0
"""How long after our server came back an error may still be due to its absence: requests waited for it."""
_PIECE: Final = 1 << 20


class Tending:
    """Tends one machine. For one thread."""

    def __init__(self, tenant: Tenant, workspace: Path, export: Export) -> None:
        self._tenant = tenant
        self._workspace = workspace
        self._export = export
        self._connection: Any = None
        self._excused_until = time.monotonic() + _EXCUSED_S  # what was before us was without us
        self._owed: FailedRead | None = None

    def look(self, is_new: bool) -> None:  # noqa: FBT001 - what an attendant tells
        """See how the machine is; `is_new` if its server had died. Never raises for what libvirt says."""
        if is_new:
            self._excused_until = time.monotonic() + _EXCUSED_S
        self._owed = take_failure(self._workspace) or self._owed
        try:
            domain = self._find()
            if standstill(domain) != "broken":
                return
            if self._is_ours():
                domain.resume()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                self._let_go()

    def _is_ours(self) -> bool:
        """Whether it paused for want of us, and need not any more."""
        if self._owed is not None:
            if not self._succeeds(self._owed):
                return False
            self._owed = None
            self._excused_until = time.monotonic() + _EXCUSED_S  # more may have failed in its wake
            return True
        return time.monotonic() < self._excused_until

    def _succeeds(self, read: FailedRead) -> bool:
        try:
            reader = NbdReader(replace(self._export, name=read.export))
            for at in range(read.offset, read.offset + read.length, _PIECE):
                reader.read_into(at, memoryview(bytearray(min(_PIECE, read.offset + read.length - at))))
        except HoldfastError:
            take_failure(self._workspace)  # that was we ourselves
            return False
        return True

    def _find(self) -> Any:
        if self._connection is None:
            self._connection = libvirt.open(self._tenant.connection)
        return self._connection.lookupByUUIDString(self._tenant.id)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(libvirt.libvirtError):
                connection.close()
