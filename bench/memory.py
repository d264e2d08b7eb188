"""Peak anonymous memory of a program and everything it starts, sampled while it runs."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PERIOD_S = 1 / 40
_ANONYMOUS = ("RssAnon:", "RssShmem:")  # shared anonymous maps count as well: memory cannot hide in them


class PeakMemory:
    """While entered, samples the process and all its descendants; `peak_bytes` is the largest sum of one sample."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(PERIOD_S):
            self.peak_bytes = max(self.peak_bytes, sum(anonymous_bytes(pid) for pid in family(self._pid)))


def family(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as they are still alive."""
    yield pid
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in listing.read_text().split():
                yield from family(int(child))


def anonymous_bytes(pid: int) -> int:
    """Resident memory that no file backs; 0 for a process that has ended."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(_ANONYMOUS))
    return 0
