r"""The index: which pack holds which id (docs/format.md, Index objects).

    header    64  magic "HFINDX\x00\x01", repository id 16, epoch u32, zeros 4, salt 32
    sealed     n  base u64, packs u32, then per pack: name 32, size u64, epoch u32, type u8, zeros 3, salt 32, table

An index object says where the records of some packs are, and which log entry its writer had read before it sent the
first of them (its base). In memory an `Index` holds the packs' tables as read, and sorted runs of 16-byte prefixes over
them; a full id is compared wherever bytes are read.
"""

import os
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.nodes import ID_BYTES
from holdfast.repository.packs import DATA, NODES, PackHeader, PackTable, decode_table, nonce

_HEADER: Final = struct.Struct("<8s16sI4x32s")
_MAGIC: Final = b"HFINDX\x00\x01"
_BODY: Final = struct.Struct("<QI")
_PACK: Final = struct.Struct("<32sQIB3x32s")

assert _HEADER.size == 64


@dataclass(frozen=True, eq=False)
class Pack:
    """A durable pack: its name (hex), size in bytes, header and table."""

    name: str
    size: int
    header: PackHeader
    table: PackTable

    @property
    def object(self) -> str:
        """Its name in the storage."""
        return f"packs/{self.name[:2]}/{self.name}"


class Place(NamedTuple):
    """Where a segment is: the pack's number in the index, and the segment's number in the pack."""

    pack: int
    segment: int


def encode_index_object(keys: Keys, base: int, packs: Sequence[Pack]) -> bytes:
    """An index object over these packs, sealed under a fresh salt."""
    salt = os.urandom(SALT_BYTES)
    header = _HEADER.pack(_MAGIC, keys.repository_id, keys.epoch, salt)
    body = [_BODY.pack(base, len(packs))]
    for pack in packs:
        fields = (bytes.fromhex(pack.name), pack.size, pack.header.epoch, pack.header.type, pack.header.salt)
        body += [_PACK.pack(*fields), pack.table.encode()]
    return header + keys.sealer(b"index", keys.epoch, salt).encrypt(nonce(0), b"".join(body), header)


class IndexObject(NamedTuple):
    """What an index object says: its writer's base, and the packs."""

    base: int
    packs: list[Pack]


def decode_index_object(keys: Keys, blob: bytes, name: str) -> IndexObject:
    """Open and read an index object. Raises DamagedError naming it."""
    damaged = DamagedError(f"{name} is damaged", hint="run `holdfast repository check`", code="object-damaged")
    if len(blob) < _HEADER.size:
        raise damaged
    magic, owner, epoch, salt = _HEADER.unpack_from(blob)
    if magic != _MAGIC or owner != keys.repository_id:
        raise damaged
    header, sealed = blob[: _HEADER.size], memoryview(blob)[_HEADER.size :]
    try:
        body = keys.sealer(b"index", epoch, salt).decrypt(nonce(0), sealed, header)
        return _decode_body(body)
    except (InvalidTag, struct.error) as error:
        raise damaged from error


def _decode_body(body: bytes) -> IndexObject:
    base, count = _BODY.unpack_from(body)
    at = _BODY.size
    packs = []
    for _ in range(count):
        name, size, epoch, kind, salt = _PACK.unpack_from(body, at)
        table, at = decode_table(body, at + _PACK.size)
        packs.append(Pack(name.hex(), size, PackHeader(epoch, NODES if kind == NODES else DATA, salt), table))
    return IndexObject(base, packs)


@dataclass(frozen=True, slots=True)
class _Run:
    """Entries sorted by the first 16 bytes of their ids, as two words; equal ids lie side by side."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    pack: NDArray[np.uint32]
    segment: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.high)


class Index:
    """Places of ids. Reading needs no lock: `add` swaps in a new tuple of runs when it is done."""

    def __init__(self) -> None:
        self.packs: list[Pack] = []
        self._numbers: dict[str, int] = {}
        self._runs: tuple[_Run, ...] = ()
        self._dropped: set[str] = set()
        self._adding = threading.Lock()

    def add(self, packs: Iterable[Pack]) -> None:
        """Make the packs' segments known; packs that are already known change nothing."""
        with self._adding:
            runs = list(self._runs)
            fresh = [pack for pack in packs if pack.name not in self._numbers]
            for pack in fresh:
                self._numbers[pack.name] = len(self.packs)
                self.packs.append(pack)
            if usable := [pack for pack in fresh if pack.name not in self._dropped]:
                runs.append(_merged([_run_of(self._numbers[pack.name], pack.table) for pack in usable]))
            while len(runs) > 1 and len(runs[-2]) < 4 * len(runs[-1]):
                runs[-2:] = [_merged(runs[-2:])]
            self._runs = tuple(runs)

    def drop(self, names: Iterable[str]) -> None:
        """These packs are condemned: nothing in them is ever found again."""
        with self._adding:
            fresh = set(names) - self._dropped
            self._dropped |= fresh
            numbers = [self._numbers[name] for name in fresh if name in self._numbers]
            runs = []
            for run in self._runs:
                kept = ~np.isin(run.pack, numbers)
                runs.append(_Run(run.high[kept], run.low[kept], run.pack[kept], run.segment[kept]))
            self._runs = tuple(run for run in runs if len(run))

    def __len__(self) -> int:
        """Places known; it grows with each pack that is added."""
        return sum(len(run) for run in self._runs)

    def knows_pack(self, name: str) -> bool:
        """Whether the pack of that name has been added, and not dropped."""
        return name in self._numbers and name not in self._dropped

    def number_of(self, name: str) -> int:
        """The number of a pack that has been added."""
        return self._numbers[name]

    def places(self, ids: Sequence[bytes] | NDArray[np.uint8]) -> NDArray[np.int64]:
        """(n, 2) of pack and segment numbers, one place per id; -1 where an id has none."""
        found = np.full((len(ids), 2), -1, np.int64)
        rows = ids if isinstance(ids, np.ndarray) else np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)
        high, low = _prefixes(rows)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run.high, high), len(run) - 1)
            hit = np.flatnonzero((run.high[at] == high) & (run.low[at] == low))
            found[hit, 0] = run.pack[at[hit]]
            found[hit, 1] = run.segment[at[hit]]
            for odd in np.flatnonzero((run.high[at] == high) & (run.low[at] != low)).tolist():
                if others := self.copies(bytes(ids[odd])):  # two ids share 8 bytes: once in an age
                    found[odd] = others[0]
        return found

    def copies(self, wanted: bytes) -> list[Place]:
        """Every place of one id."""
        high, low = _prefixes(np.frombuffer(wanted, np.uint8).reshape(1, ID_BYTES))
        places = []
        for run in self._runs:
            first = np.searchsorted(run.high, high[0], "left")
            last = np.searchsorted(run.high, high[0], "right")
            for at in range(int(first), int(last)):
                place = Place(int(run.pack[at]), int(run.segment[at]))
                if run.low[at] == low[0] and self.id_at(place) == wanted:
                    places.append(place)
        return places

    def id_at(self, place: Place) -> bytes:
        """The full id that the pack's table gives the segment."""
        found: bytes = self.packs[place.pack].table.ids[place.segment].tobytes()
        return found


def _run_of(number: int, table: PackTable) -> _Run:
    high, low = _prefixes(table.ids)
    order = np.argsort(high, kind="stable")
    pack = np.full(len(order), number, np.uint32)
    return _Run(high[order], low[order], pack, order.astype(np.uint32))


def _merged(runs: Sequence[_Run]) -> _Run:
    high = np.concatenate([run.high for run in runs])
    low = np.concatenate([run.low for run in runs])
    order = np.lexsort((low, high))
    pack = np.concatenate([run.pack for run in runs])[order]
    return _Run(high[order], low[order], pack, np.concatenate([run.segment for run in runs])[order])


def _prefixes(ids: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first 16 bytes of each id as two words that sort as the bytes do."""
    words = np.ascontiguousarray(ids).view(">u8").reshape(len(ids), -1)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
