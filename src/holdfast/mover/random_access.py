"""Any bytes of a file inside stored disks, in any order: for whoever serves files to programs that seek."""

from bisect import bisect_right
from threading import Lock
from typing import Final

from holdfast.filesystems import Entry, FileRun, Inspection

_COMPUTED_BYTES: Final = 1024 * 1024
"""What must be computed is computed so many bytes at a time, and the last of them are kept."""


class OpenedFile:
    """One file. Safe to use from many threads."""

    def __init__(self, inspection: Inspection, file: Entry) -> None:
        """Raises what the inspection raises."""
        self._inspection = inspection
        self._file = file
        self._runs = inspection.runs(file.path, file.size) if file.size else []
        self._block: tuple[int, bytes] = (-1, b"")
        self._computing = Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset` on, fewer at the end. Raises what the inspection and its disks raise."""
        end = min(offset + length, self._file.size)
        if offset >= end:
            return b""
        if self._runs is None:
            return self._computed(offset, end)
        buffer = bytearray(end - offset)
        for run in self._runs[bisect_right(self._runs, offset, key=_start) - 1 :]:
            if run.start >= end:
                break
            start, stop = max(offset, run.start), min(end, run.start + run.length)
            if run.disk is not None:
                place = memoryview(buffer)[start - offset : stop - offset]
                self._inspection.devices[run.disk].read_into(run.offset + start - run.start, place)
        return bytes(buffer)

    def _computed(self, offset: int, end: int) -> bytes:
        found = bytearray()
        while offset < end:
            number, within = divmod(offset, _COMPUTED_BYTES)
            some = self._computed_block(number)[within : within + end - offset]
            found += some
            offset += len(some)
        return bytes(found)

    def _computed_block(self, number: int) -> bytes:
        with self._computing:
            if self._block[0] != number:
                start = number * _COMPUTED_BYTES
                length = min(_COMPUTED_BYTES, self._file.size - start)
                self._block = number, self._inspection.read(self._file.path, start, length)
            return self._block[1]


def _start(run: FileRun) -> int:
    return run.start
