"""The watch over scratch space: whatever keeps it from looking ends the backup too."""

import time
from typing import Any, NoReturn

import libvirt

from holdfast.core.errors import FailedError
from holdfast.core.progress import Silence
from holdfast.platforms.libvirt.watch import JobWatch


class RunningDomain:
    """As much of a domain as the watch looks at."""

    def name(self) -> str:
        return "m"

    def state(self) -> list[int]:
        return [libvirt.VIR_DOMAIN_RUNNING, 0]


class Job:
    """A job that remembers that it was ended."""

    ended = False

    def end(self) -> None:
        self.ended = True


def test_scratch_that_cannot_be_looked_at_ends_the_backup() -> None:
    blind = FailedError("cannot use /scratch for scratch: Input/output error")

    def look() -> NoReturn:
        raise blind

    job: Any = Job()
    with JobWatch(RunningDomain(), job, look, Silence()) as watch:
        deadline = time.monotonic() + 10
        while not job.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        assert job.ended
        assert watch.cause() is blind
