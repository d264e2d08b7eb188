"""Reading records without decompressing them: a few large reads, each record opened, nothing inflated unless asked.

For copies: what one repository compressed, another that names alike takes over as it is.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.repository.nodes import ID_BYTES
from holdfast.repository.packs import Pack
from holdfast.repository.reading import LARGEST_RUN_BYTES, Layout, ReadRun, plan_reads
from holdfast.repository.records import Records


@dataclass(frozen=True, slots=True)
class Frame:
    """A record opened for a moment: until its reader's next step.

    `segments` are (id, plain bytes) of all it holds, back to back, `wanted` the ids it was read for.
    """

    content: memoryview
    segments: Sequence[tuple[bytes, int]]
    wanted: Collection[bytes]

    @property
    def plain_bytes(self) -> int:
        """How long it is decompressed."""
        return sum(size for _, size in self.segments)

    @property
    def wanted_bytes(self) -> int:
        """How much of that is wanted."""
        return sum(size for segment, size in self.segments if segment in self.wanted)


@dataclass(frozen=True, slots=True)
class Lost:
    """Ids of which a record that is damaged, or no record at all, was found; another copy may be good."""

    wanted: Collection[bytes]


class FrameReader:
    """Reads frames of one repository; for one thread, whose memory it owns."""

    def __init__(self, records: Records, id_key: bytes) -> None:
        self._records = records
        self._id_key = id_key
        self._buffer = memoryview(bytearray(LARGEST_RUN_BYTES))
        self._decompressor = zstandard.ZstdDecompressor()

    def read(self, ids: Sequence[bytes]) -> Iterator[Frame | Lost]:
        """Records that hold these ids, in the order of the packs; `Lost` for ids of which this brings no good copy."""
        if not ids:
            return
        nowhere = np.zeros(len(ids), np.int64)
        runs, lost = plan_reads(self._records.index, Layout(_columns(ids), nowhere, nowhere))
        if len(lost.ids):
            yield Lost(_ids(lost))
        for run in runs:
            yield from self._read_run(run)

    def inflate(self, frame: Frame) -> list[tuple[bytes, memoryview]]:
        """The wanted (id, plain bytes) of a frame, each proved by its id. Raises DamagedError."""
        try:
            plain = memoryview(self._decompressor.decompress(frame.content))
        except zstandard.ZstdError as error:
            raise DamagedError(f"a record cannot be decompressed: {error}", code="record-damaged") from error
        found = []
        start = 0
        for segment, size in frame.segments:
            if segment in frame.wanted:
                piece = plain[start : start + size]
                if blake3(piece, key=self._id_key).digest() != segment:
                    raise DamagedError(f"what is stored as {segment.hex()[:16]} is not that", code="record-damaged")
                found.append((segment, piece))
            start += size
        return found

    def read_one(self, wanted: bytes) -> memoryview:
        """One id from any good copy there is. Raises BlockMissingError."""
        return memoryview(self._records.read(wanted, self._id_key))

    def _read_run(self, run: ReadRun) -> Iterator[Frame | Lost]:
        buffer = self._buffer[: run.end - run.start]
        try:
            self._records.storage.read_into(run.pack.object, run.start, buffer)
        except HoldfastError:
            yield Lost(_ids(run.layout))
            return
        for number, rows in run.by_record():
            begin = int(run.pack.table.records[number]["offset"]) - run.start
            wanted = frozenset(run.layout.ids[row].tobytes() for row in rows)
            yield self._open(run.pack, number, wanted, buffer[begin:]) or Lost(wanted)

    def _open(self, pack: Pack, number: int, wanted: Collection[bytes], sealed: memoryview) -> Frame | None:
        """One record; None if it is damaged."""
        row, table = pack.table.records[number], pack.table
        try:
            content = self._records.open_frame(pack, number, sealed[: int(row["packed"])])
        except DamagedError:
            return None
        segments = [(table.ids[at].tobytes(), int(table.sizes[at])) for at in table.segments_of(number)]
        frame = Frame(content, segments, wanted)
        return frame if frame.plain_bytes == int(row["plain"]) else None


def _columns(ids: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)


def _ids(layout: Layout) -> list[bytes]:
    return [row.tobytes() for row in layout.ids]
