"""Writing: lanes that name and claim segments, and the attempt that brings them home before a commit.

    lane (one per thread)     hash -> known? -> claim -> compress -> seal -> pack
    uploader (a few threads) pack durable -> index object durable -> the index of this process
    flush                     nothing of this attempt is in flight, nor anything it relies on

At its end an attempt waits a while for what siblings had claimed and it relied on; what they did not bring home is
named as work to do again. So is what a collection has condemned meanwhile: the attempt remembers which packs it relies
on, and looks at its commit whether they still count.
"""

import threading
import time
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.errors import HoldfastError
from holdfast.repository.claims import Claims
from holdfast.repository.config import Config
from holdfast.repository.cut import Piece
from holdfast.repository.damaged import DamagedRecords
from holdfast.repository.index_objects import Listing
from holdfast.repository.nodes import ID_BYTES, leaf_ids
from holdfast.repository.packing import NODE_RECORD_BYTES, PackBuilder
from holdfast.repository.packs import DATA, NODES, Pack, PackType
from holdfast.repository.records import BlockMissingError, Records
from holdfast.repository.reliance import Reliance
from holdfast.repository.sharing import Sharing
from holdfast.repository.state import State
from holdfast.repository.uploading import Uploader

_NEWS_EVERY_S: Final = 3.0
"""Others list what they store from some 100 MiB on; a listing of the index costs little beside that."""


class Lane:
    """One thread's way into the repository: its own open pack. Closing it hands the pack over."""

    def __init__(self, attempt: "Attempt") -> None:
        self._attempt = attempt
        self._pack: PackBuilder | None = None
        self._block_bytes = attempt.config.cut.block_bytes
        self._record_bytes = attempt.config.record_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._hand_over()

    def store(self, region: memoryview, pieces: Sequence[Piece], work: Hashable) -> list[Piece]:
        """Name every piece of a region and store what the repository lacks; returns them all with ids.

        Pieces that have an id already are not looked at. `work` is what `Attempt.flush` names if it must be done again.
        """
        key, block = self._attempt.keys.data_id_key, self._block_bytes
        named = [
            piece
            if piece.id
            else piece._replace(id=blake3(region[piece.start * block : piece.end * block], key=key).digest())
            for piece in pieces
        ]
        fresh = [piece for piece, before in zip(named, pieces, strict=True) if not before.id]
        batch: list[Piece] = []
        size = 0
        for piece in self._attempt.missing(fresh, work):
            if size + piece.blocks * block > self._record_bytes:
                self._add(region, batch)
                batch, size = [], 0
            batch.append(piece)
            size += piece.blocks * block
        if batch:
            self._add(region, batch)
        return named

    def add(self, plain: memoryview, segments: Sequence[tuple[bytes, int]]) -> None:
        """Store these segments, (id, size) each, that lie back to back in `plain`, as one record."""
        self._open_pack().add(plain, segments)
        self._added(sum(size for _, size in segments))

    def take(self, frame: memoryview, segments: Sequence[tuple[bytes, int]], fresh_bytes: int) -> None:
        """Store a record of a repository that names alike as it was compressed there; `fresh_bytes` of it are new."""
        self._open_pack().add_frame(frame, sum(size for _, size in segments), segments)
        self._added(fresh_bytes)

    def _add(self, region: memoryview, batch: Sequence[Piece]) -> None:
        """Store some pieces as one record; neighbours need no copy."""
        block = self._block_bytes
        first, last = batch[0], batch[-1]
        segments = [(piece.id, piece.blocks * block) for piece in batch]
        if (last.end - first.start) * block == sum(size for _, size in segments):
            plain = region[first.start * block : last.end * block]
        else:
            plain = memoryview(b"".join([region[piece.start * block : piece.end * block] for piece in batch]))
        self.add(plain, segments)

    def _open_pack(self) -> PackBuilder:
        if self._pack is None:
            self._pack = self._attempt.new_pack(DATA)
        return self._pack

    def _added(self, fresh_bytes: int) -> None:
        self._attempt.count_sent(fresh_bytes)
        if self._pack is not None and self._pack.full:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._pack is not None:
            self._attempt.uploader.hand_over(self._pack.seal())
            self._pack = None


class Attempt:
    """One backup's writing. Ends with `close`, whatever happened; only `Log.commit` makes anything of it visible."""

    def __init__(
        self, records: Records, config: Config, claims: Claims, *, state: State, lost: Sequence[Pack], share: float
    ) -> None:
        """`state` was read before the index was loaded; `lost` packs are listed and not there."""
        self.keys = records.keys
        self.config = config
        self.base = state.number
        self.damaged = DamagedRecords(records.index, state.damaged, lost)
        self.verify_share = share
        self.sent_bytes = 0
        self._records = records
        self._counting = threading.Lock()
        self._sharing = Sharing(claims, self._is_stored, records.load_index)
        self.doubting = False
        self._looking = threading.Lock()
        self._next_look = time.monotonic() + _NEWS_EVERY_S
        self._lost = lost
        self._reliance = Reliance(records.index, state)
        self.uploader = Uploader(records.storage, records.keys, self.base, share, self._published)
        self._nodes = _NodeLane(self)

    def lane(self) -> Lane:
        """A lane for one thread."""
        return Lane(self)

    def put_node(self, plain: bytes) -> bytes:
        """Store a tree node unless the repository has it; returns its id. Any thread.

        Nodes are not shared with siblings: they are small, and come home last.
        """
        node = blake3(plain, key=self.keys.node_id_key).digest()
        if not self._is_known([node], self.keys.node_id_key)[0]:
            self._nodes.add(node, plain)
        return node

    def missing(self, pieces: Sequence[Piece], work: Hashable) -> list[Piece]:
        """Those pieces that this attempt has to store."""
        if not pieces:
            return []
        self._look_for_news()
        known = self._is_stored([piece.id for piece in pieces])
        return self._sharing.mine([pieces[at] for at in np.flatnonzero(~known).tolist()], work)

    def doubt(self) -> None:
        """Something stored is damaged: from now on nothing counts as known that has not been read.

        So what is damaged and still on the disk is stored anew, and serves every point that needs it.
        """
        self.doubting = True

    def flush(self) -> set[Hashable]:
        """Bring everything home. Returns work to do again because a sibling that claimed part of it did not.

        All lanes must have been closed. When it returns an empty set, every id this attempt has named or been told is
        known stands in a durable index object.
        """
        self._nodes.hand_over()
        self.uploader.drain()  # what this attempt had claimed is released: two that rely on each other go on
        return self._sharing.settle()

    def holds(self, state: State) -> bool:
        """Whether everything that this attempt has named or been told is known still counts, as of a later state."""
        return self._reliance.holds(state)

    @property
    def packs(self) -> list[str]:
        """The names of the packs that this attempt relies on."""
        return self._reliance.packs

    def rely_on(self, packs: Iterable[str]) -> None:
        """Rely on these packs of the index too, by name."""
        self._reliance.note(np.array([self._records.index.number_of(name) for name in packs], np.int64))

    def begin_again(self, state: State) -> None:
        """Rely on nothing any more but what counts as of this state: everything is to be named again.

        Nothing is read again that is still known, and the base stays: what was taken over from a parent hangs on it.
        """
        self._records.load_index()
        self._records.index.drop(state.condemned)
        self.damaged = DamagedRecords(self._records.index, state.damaged, self._lost)
        self._reliance = Reliance(self._records.index, state)

    def relies_on_leaf(self, leaf: bytes) -> bool:
        """Rely on a leaf and all that it maps; False if something of it has to be stored again."""
        if not self._is_known([leaf], self.keys.node_id_key)[0]:
            return False
        try:
            ids = leaf_ids(self._records.read(leaf, self.keys.node_id_key))
        except BlockMissingError:
            return False
        return bool(self._is_stored([ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]).all())

    def close(self) -> None:
        """Give everything back. What was not committed stays as unreferenced packs and harms nobody."""
        try:
            self.uploader.stop()
        finally:
            self._sharing.close()

    @property
    def stored_bytes(self) -> int:
        """By how much this attempt has made the repository grow."""
        return self.uploader.stored_bytes

    def new_pack(self, kind: PackType) -> PackBuilder:
        """An empty pack."""
        return PackBuilder(self.keys, kind, self.uploader.buffers.take(), self.verify_share)

    def count_sent(self, plain_bytes: int) -> None:
        """Count bytes that the repository did not have."""
        with self._counting:
            self.sent_bytes += plain_bytes

    def _look_for_news(self) -> None:
        """Now and then take in what others have listed meanwhile: whoever stores the same need not do so twice.

        What is met there is checked at the commit like all else. It only spares work, so its failure is none.
        """
        if time.monotonic() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                with suppress(HoldfastError):
                    self._records.load_index()
                self._next_look = time.monotonic() + _NEWS_EVERY_S
            finally:
                self._looking.release()

    def _is_stored(self, ids: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of these segments the repository has."""
        return self._is_known(ids, self.keys.data_id_key)

    def _is_known(self, ids: Sequence[bytes], id_key: bytes) -> NDArray[np.bool_]:
        """Which of these ids the repository has."""
        packs = self.damaged.packs_of(ids)
        if self.doubting:
            for at in np.flatnonzero(packs >= 0).tolist():
                packs[at] = self._records.pack_with_readable_copy(ids[at], id_key)
        known = packs >= 0
        self._reliance.note(packs[known])
        return known

    def _published(self, name: str, packs: list[Pack]) -> None:
        self._records.take_listed(Listing(name, self.base, packs))
        self._reliance.note(np.array([self._records.index.number_of(pack.name) for pack in packs]))
        for pack in packs:
            ids = [row.tobytes() for row in pack.table.ids]
            if pack.header.type == NODES:
                self._nodes.forget(ids)
            else:
                self._sharing.brought_home(ids)


class _NodeLane:
    """Nodes of all threads, in small records of packs of their own.

    A full pack is handed over outside the lock: handing over waits for the uploader, and the uploader waits for the
    lock when it reports what it has listed.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._lock = threading.Lock()
        self._taken: set[bytes] = set()
        self._waiting: list[tuple[bytes, bytes]] = []
        self._waiting_bytes = 0
        self._pack: PackBuilder | None = None

    def add(self, node: bytes, plain: bytes) -> None:
        """Take one node, unless it is on its way already."""
        full = None
        with self._lock:
            if node in self._taken:
                return
            self._taken.add(node)
            self._waiting.append((node, plain))
            self._waiting_bytes += len(plain)
            if self._waiting_bytes >= NODE_RECORD_BYTES:
                pack = self._write()
                if pack.full:
                    full, self._pack = pack, None
        if full is not None:
            self._attempt.uploader.hand_over(full.seal())

    def forget(self, nodes: Iterable[bytes]) -> None:
        """These are in the index now."""
        with self._lock:
            self._taken.difference_update(nodes)

    def hand_over(self) -> None:
        """Pass on everything taken so far."""
        with self._lock:
            if self._waiting:
                self._write()
            last, self._pack = self._pack, None
        if last is not None:
            self._attempt.uploader.hand_over(last.seal())

    def _write(self) -> PackBuilder:
        """Put what waits into the open pack, as one record."""
        if self._pack is None:
            self._pack = self._attempt.new_pack(NODES)
        segments = [(node, len(plain)) for node, plain in self._waiting]
        self._pack.add(b"".join([plain for _, plain in self._waiting]), segments)
        self._waiting, self._waiting_bytes = [], 0
        return self._pack
