"""Records that count for nothing to whoever writes: marked in the log, or lost with their pack.

An id that stands nowhere else is not known: it is stored anew as soon as a disk that still holds it is backed up, and
regions of such a disk are read for it although they did not change.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.repository.disk import StoredDisk
from holdfast.repository.index import Index
from holdfast.repository.nodes import FAN_OUT, decode_page
from holdfast.repository.packs import Pack
from holdfast.repository.state import PackRecord


class DamagedRecords:
    """What one attempt does not rely on. It never changes, so any thread may ask.

    `marked` gives the number of the entry that marked a record; `lost` are packs that are not there in full length.
    """

    def __init__(self, index: Index, marked: Mapping[PackRecord, int], lost: Sequence[Pack]) -> None:
        self._index = index
        gone = {(pack.name, number) for pack in lost for number in range(len(pack.table.records))}
        self.unmarked = len(gone - marked.keys())
        self._newest_mark = max(marked.values(), default=0)
        self._records = gone | marked.keys()
        self._names = {name for name, _ in self._records}
        self._doubtful: dict[int, bool] = {}

    def is_news_since(self, number: int) -> bool:
        """Whether there is any such record that an attempt based on this entry of the log did not know of."""
        return self._newest_mark > number or self.unmarked > 0

    def spare(self, ids: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of these ids have a place in a record that is not damaged."""
        return self.packs_of(ids) >= 0

    def packs_of(self, ids: Sequence[bytes]) -> NDArray[np.int64]:
        """The number of a pack that holds each of these ids in a record that is not damaged; -1 if there is none."""
        packs = self._index.places(ids)[:, 0]
        for at in np.flatnonzero(np.isin(packs, self._hurt(packs))).tolist():
            packs[at] = self._pack_with_good_copy(ids[at])
        return packs

    def _hurt(self, packs: NDArray[np.int64]) -> list[int]:
        """Those of these packs that have lost something: by name, since an index made anew gives new numbers."""
        if not self._names:
            return []
        numbers = np.unique(packs[packs >= 0]).tolist()
        for number in numbers:
            if number not in self._doubtful:
                self._doubtful[number] = self._index.packs[number].name in self._names
        return [number for number in numbers if self._doubtful[number]]

    def regions_of(self, disk: StoredDisk) -> set[int]:
        """The regions to be written anew so that a disk's tree needs no damaged record.

        Raises DamagedError where a page above them cannot be read.
        """
        top = disk.root.top
        return set(self._below(disk, top, disk.root.depth, 0)) if top else set()

    def _below(self, disk: StoredDisk, node: bytes, level: int, region: int) -> Iterator[int]:
        """Regions below a node that stands at `region`; a damaged page is made anew by any region below it."""
        if not self.spare([node])[0]:
            yield region
        if level == 0:
            pieces = disk.pieces(node)
            if pieces and not self.spare([piece.id for piece in pieces]).all():
                yield region
            return
        for slot, child in decode_page(disk.read_node(node), level).items():
            yield from self._below(disk, child, level - 1, region + slot * FAN_OUT ** (level - 1))

    def _pack_with_good_copy(self, wanted: bytes) -> int:
        for place in self._index.copies(wanted):
            pack = self._index.packs[place.pack]
            if (pack.name, pack.table.record_of(place.segment)) not in self._records:
                return place.pack
        return -1
