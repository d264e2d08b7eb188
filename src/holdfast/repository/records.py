"""Reading by id: from the index to a pack, its record, the plain bytes, and back to the id that proves them."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.repository.cache import RunFiles
from holdfast.repository.index import Index
from holdfast.repository.index_objects import Listing, decode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packs import (
    MAXIMUM_PACKED_BYTES,
    MAXIMUM_RECORD_BYTES,
    TAG_BYTES,
    Pack,
    nonce,
    open_table,
    pack_name,
    record_context,
)
from holdfast.repository.storage.port import (
    MAXIMUM_OBJECT_BYTES,
    ObjectMissingError,
    Storage,
    StorageError,
    Stored,
)

_KEPT_BYTES: Final = 16 * 1024 * 1024
_SEALERS: Final = 4096
"""Random reads of an aged disk touch thousands of packs. A cipher takes less than a KiB."""


class BlockMissingError(DamagedError):
    """No undamaged copy of a segment or node can be found. `block` is its id."""

    def __init__(self, block: bytes, failure: HoldfastError | None) -> None:
        why = f": {failure.message}" if failure else ""
        super().__init__(
            f"no good copy of block {block.hex()[:16]} is left in the repository{why}",
            hint="run `holdfast repository check`",
            code="block-missing",
        )
        self.block = block


class _Frame:
    """A record's plain bytes, and which of its segments were proved: (segment, id, key of ids)."""

    __slots__ = ("plain", "proved")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self.proved: set[tuple[int, bytes, bytes]] = set()


class Records:
    """Every record of a repository, read-only. Safe to use from many threads."""

    def __init__(self, storage: Storage, keys: Keys, cache: Path | None = None) -> None:
        """`cache` is a directory for what this host keeps of the repository, None to keep nothing."""
        self.storage = storage
        self.keys = keys
        files = RunFiles(cache / "index" if cache else None, keys.repository_id)
        self.index = Index(files, partial(pack_from_storage, storage, keys))
        self._opened = False
        self._unreadable: set[str] = set()
        self._unlisted = Index()
        self._looked_into: set[str] = set()
        self._loading = threading.Lock()
        self._sealers: OrderedDict[str, AESGCM] = OrderedDict()
        self.kept_bytes = _KEPT_BYTES
        """Plain bytes of records that are kept, those that were used last, for who reads one by one."""
        self._kept: OrderedDict[tuple[str, int], _Frame] = OrderedDict()
        self._now_kept_bytes = 0
        self._keeping = threading.Lock()
        self._scratch = _Scratch()

    @property
    def base(self) -> int:
        """The last log entry that any writer of the index had read: the log reaches at least this far."""
        return self.index.base

    def load_index(self) -> None:
        """Take in index objects that have appeared. What a damaged one listed, `read` finds all the same."""
        with self._loading:
            self._load_new()

    def take_listed(self, listing: Listing) -> None:
        """Take in what this process has just listed, without reading it again."""
        self.index.take([listing])

    def read(self, wanted: bytes, id_key: bytes) -> bytes:
        """The plain bytes of one segment or node, from any good copy. Raises BlockMissingError.

        An id that is missed may be younger than the index, the cache may have lost it, and an index object may have
        been lost: before it is an error, the index is looked through again, then made anew from its objects, and then
        the packs are looked into that no index object lists.
        """
        failure: HoldfastError | None = None
        while True:
            known = self._entries()
            for pack, segment in self._copies(wanted):
                try:
                    return bytes(self.read_segment(pack, segment, wanted, id_key))
                except HoldfastError as error:
                    failure = error
            self.load_index()
            if self._entries() == known:  # not whether this call found anything: another thread's may have
                self._rebuild_index()
            if self._entries() == known:
                self._look_into_unlisted_packs()
            if self._entries() == known:
                raise BlockMissingError(wanted, failure)

    def lost_packs(self) -> list[Pack]:
        """Packs of the index that the storage has lost, or cut short: one listing, no reading."""
        with self._loading:
            return self.index.missing_from(self.storage.list("packs/"))

    def pack_with_readable_copy(self, wanted: bytes, id_key: bytes) -> int:
        """The number of a listed pack in which this id can be read; -1 if there is none."""
        for place in self.index.copies(wanted):
            with suppress(HoldfastError):
                self.read_segment(self.index.packs[place.pack], place.segment, wanted, id_key)
                return place.pack
        return -1

    def open_record(self, pack: Pack, number: int, sealed: memoryview) -> memoryview:
        """The plain bytes of a record, authenticated and decompressed. Raises DamagedError."""
        plain = memoryview(bytearray(min(int(pack.table.records[number]["plain"]), MAXIMUM_RECORD_BYTES)))
        self.open_record_into(pack, number, sealed, plain)
        return plain

    def open_record_into(self, pack: Pack, number: int, sealed: memoryview, plain: memoryview) -> None:
        """The same, into memory that is as long as the pack's table says. Raises DamagedError.

        A record that says it is larger than any can be is damaged, however long `plain` is.
        """
        frame = self.open_frame(pack, number, sealed)
        try:
            if self._scratch.decompressor.stream_reader(frame).readinto(plain) != len(plain):
                raise _damaged_record(pack, number)
        except zstandard.ZstdError as error:
            raise _damaged_record(pack, number) from error

    def open_frame(self, pack: Pack, number: int, sealed: memoryview) -> memoryview:
        """The compressed frame of a record, authenticated and of the size its table says. Raises DamagedError.

        The view's memory belongs to this thread's next call.
        """
        row = pack.table.records[number]
        segments = pack.table.segments_of(number)
        held = slice(segments.start, segments.stop)
        contents = pack.table.ids[held].tobytes() + pack.table.sizes[held].tobytes()
        plain_bytes, packed = int(row["plain"]), int(row["packed"])
        context = record_context(self.keys.repository_id, pack.header, number, contents, plain_bytes, packed)
        try:
            frame = self._scratch.frame[: packed - TAG_BYTES]
            self._sealer(pack).decrypt_into(nonce(number), sealed, context, frame)
            if plain_bytes > MAXIMUM_RECORD_BYTES or zstandard.frame_content_size(frame) != plain_bytes:
                raise _damaged_record(pack, number)
        except (InvalidTag, ValueError, zstandard.ZstdError) as error:
            raise _damaged_record(pack, number) from error
        return frame

    def _load_new(self) -> None:
        names = [stored.name for stored in self.storage.list("index/")]
        if opening := not self._opened:
            self._opened = True
            self.index.open(names)
        unknown = [name for name in names if not self.index.knows_source(name) and name not in self._unreadable]
        self.index.take(self._listings(unknown))
        if opening:
            self.index.save()

    def _listings(self, names: Iterable[str]) -> Iterator[Listing]:
        """What these index objects say, one by one, of those that can be read."""
        for name in names:
            try:
                yield decode_index_object(self.keys, self.storage.get(name), name)
            except ObjectMissingError:
                continue
            except (DamagedError, StorageError):
                self._unreadable.add(name)

    def _rebuild_index(self) -> None:
        """Take the cache for damaged, if this index came from it."""
        with self._loading:
            if self.index.from_cache:
                self.index.start_anew()
                self._load_new()

    def _entries(self) -> int:
        return len(self.index) + len(self._unlisted)

    def _copies(self, wanted: bytes) -> Iterator[tuple[Pack, int]]:
        """(pack, segment) of every copy of an id, those that are listed first."""
        for index in (self.index, self._unlisted):
            for place in index.copies(wanted):
                yield index.packs[place.pack], place.segment

    def read_segment(self, pack: Pack, segment: int, wanted: bytes, id_key: bytes) -> memoryview:
        """The plain bytes of one copy of a segment or node, proved by its id. Raises what reading it raises."""
        record = pack.table.record_of(segment)
        frame = self._frame(pack, record)
        piece = memoryview(frame.plain)[pack.table.slice_of(record, segment)]
        proof = (segment, wanted, id_key)
        if proof not in frame.proved:
            if blake3(piece, key=id_key).digest() != wanted:
                raise _damaged_record(pack, record)
            frame.proved.add(proof)
        return piece

    def _frame(self, pack: Pack, record: int) -> _Frame:
        key = (pack.name, record)
        with self._keeping:
            if (frame := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return frame
        row = pack.table.records[record]
        sealed = memoryview(bytearray(int(row["packed"])))
        self.storage.read_into(pack.object, int(row["offset"]), sealed)
        frame = _Frame(bytes(self.open_record(pack, record, sealed)))
        with self._keeping:
            if key not in self._kept:
                self._kept[key] = frame
                self._now_kept_bytes += len(frame.plain)
            while self._now_kept_bytes > self.kept_bytes:
                self._now_kept_bytes -= len(self._kept.popitem(last=False)[1].plain)
        return frame

    def _look_into_unlisted_packs(self) -> None:
        """Take in the tables of packs that no index object lists, each once.

        For readers only: such a pack may also be the work of a writer that is not done yet, and may never be.
        """
        with self._loading:
            for stored in self.storage.list("packs/"):
                name = pack_name(stored.name)
                if name and name not in self._looked_into and not self.index.knows_pack(name):
                    self._looked_into.add(name)
                    with suppress(HoldfastError):
                        self._unlisted.add([pack_from_storage(self.storage, self.keys, stored)])

    def _sealer(self, pack: Pack) -> AESGCM:
        """The pack's cipher; deriving one costs more than opening a record."""
        sealer = self._sealers.get(pack.name)
        if sealer is None:
            sealer = self.keys.sealer(b"pack", pack.header.epoch, pack.header.salt)
            with self._keeping:
                self._sealers[pack.name] = sealer
                while len(self._sealers) > _SEALERS:
                    self._sealers.popitem(last=False)
        return sealer


class _Scratch(threading.local):
    """What each reading thread reuses from record to record."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
        self.frame = memoryview(bytearray(MAXIMUM_PACKED_BYTES))


def pack_from_storage(storage: Storage, keys: Keys, stored: Stored) -> Pack:
    """A pack as its own table describes it; nothing else of it is read. Raises DamagedError and what reading raises."""
    if stored.size > MAXIMUM_OBJECT_BYTES:
        message = f"{stored.name} is {stored.size} bytes large, no object of a repository is"
        raise StorageError(message, hint="run `holdfast repository check`", code="oversized")

    def read(offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        storage.read_into(stored.name, offset, memoryview(buffer))
        return bytes(buffer)

    if not (name := pack_name(stored.name)):
        raise DamagedError(f"{stored.name} is no name of a pack", code="object-damaged")
    header, table = open_table(keys, read, stored.size, stored.name)
    return Pack(name, stored.size, header, table)


def _damaged_record(pack: Pack, number: int) -> DamagedError:
    return DamagedError(f"record {number} of pack {pack.name} is damaged", code="record-damaged")
