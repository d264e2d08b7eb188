"""Somebody looks at the scratch space while a backup runs, and ends the backup before the guest has to stop."""

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import libvirt

from holdfast.core.errors import FailedError, HoldfastError
from holdfast.core.progress import Progress
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.job import BackupJob

_EVERY_S = 1.0


class JobWatch:
    """A thread that looks once a second for `trouble`, and ends `job` at the first. A context manager."""

    def __init__(
        self, domain: Any, job: BackupJob, trouble: Callable[[], HoldfastError | None], progress: Progress
    ) -> None:
        self._domain = domain
        self._name = domain.name()
        self._job = job
        self._find_trouble = trouble
        self._progress = progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-scratch", daemon=True)
        self._found: HoldfastError | None = None
        self._ran = domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING

    def cause(self) -> HoldfastError | None:
        """Why the job is over; None while it is under way. Raises UnreachableError if nobody can tell. Any thread."""
        if self._found is not None:
            return self._found
        with asking(f"see whether the backup job of {self._name} still runs"):
            return None if self._job.is_ours() else self._vanished()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._found = self._look()
            if self._found is not None:
                self._job.end()
                self.resume_if_stalled()
                return

    def _look(self) -> HoldfastError | None:
        """Space that cannot be looked at is a trouble too: nobody would see it run full."""
        try:
            return self._find_trouble()
        except HoldfastError as error:
            return error

    def resume_if_stalled(self) -> None:
        """Let the guest go on if QEMU paused it because its write found the scratch space full; the write is redone.

        Called when the job is over.
        """
        with suppress(libvirt.libvirtError):
            if self._ran and self._domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
                self._domain.resume()
                self._progress.warning(f"{self._name} was paused for want of scratch space, and runs again")

    def _vanished(self) -> HoldfastError:
        if not self._domain.isActive():
            said = f"{self._name} was switched off while it was backed up"
        else:
            said = f"the backup job of {self._name} was ended by somebody else"
        return FailedError(said, hint="run the backup again", code="vanished")
