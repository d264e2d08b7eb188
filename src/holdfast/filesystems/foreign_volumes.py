"""The program's side of volumes that somebody else reads: lends them their bytes, and ends them."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from holdfast.core.errors import HoldfastError
from holdfast.core.foreign import Blocks, ForeignAnswer, ForeignFiles, ForeignReader
from holdfast.filesystems import wire

_MOST_AT_ONCE: Final = 3
"""Each may be a whole virtual machine."""
_MOST_PLACES: Final = 1_000_000


class ForeignVolumes:
    """Those that were asked for, each opened once. Used by one thread at a time."""

    def __init__(self, devices: Sequence[Blocks], reader: ForeignReader | None) -> None:
        self._devices = devices
        self._reader = reader
        self._opened: OrderedDict[str, ForeignFiles | HoldfastError] = OrderedDict()

    @property
    def lacking(self) -> str | None:
        """What is missing for it; None if nobody is to be asked."""
        return None if self._reader is None else self._reader.lacking

    def answer(self, need: wire.NeedForeign) -> ForeignAnswer:
        """What is said of a volume. Raises HoldfastError, ValueError for what cannot be asked."""
        opened = self._opened.get(need.volume)
        if opened is None:
            opened = self._opened[need.volume] = self._open(need)
        if isinstance(opened, HoldfastError):  # what did not start once is not waited for again
            raise opened
        return opened.answer(need.question)

    def close(self) -> None:
        """End all of them. May be called twice."""
        while self._opened:
            self._end(self._opened.popitem()[1])

    def _open(self, need: wire.NeedForeign) -> ForeignFiles | HoldfastError:
        if self._reader is None or not need.kind.isalnum() or len(need.places) > _MOST_PLACES:
            raise ValueError("a volume that nobody reads")
        while len(self._opened) >= _MOST_AT_ONCE:
            self._end(self._opened.popitem(last=False)[1])
        try:
            return self._reader.open(need.volume, need.kind, _Pieces(self._devices, need.places))
        except HoldfastError as error:
            return error

    def _end(self, opened: ForeignFiles | HoldfastError) -> None:
        if not isinstance(opened, HoldfastError):
            opened.close()


class _Pieces:
    """Bytes that lie in several places of the disks, in order."""

    def __init__(self, devices: Sequence[Blocks], places: Sequence[tuple[int, int, int]]) -> None:
        """Raises ValueError for places that there are not."""
        for disk, offset, length in places:
            if not 0 <= disk < len(devices) or offset < 0 or length <= 0:
                raise ValueError("a place that there is not")
            if offset + length > devices[disk].size_bytes:
                raise ValueError("a place that no disk has")
        self._devices = devices
        self._places = places
        self._starts = [0, *accumulate(length for _, _, length in places)]

    @property
    def size_bytes(self) -> int:
        """See Blocks."""
        return self._starts[-1]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See Blocks."""
        number, done = bisect_right(self._starts, offset) - 1, 0
        while done < len(buffer):
            disk, start, length = self._places[number]
            within = offset + done - self._starts[number]
            some = min(length - within, len(buffer) - done)
            self._devices[disk].read_into(start + within, buffer[done : done + some])
            number, done = number + 1, done + some
