"""Filling one pack: compress, check, seal, and at the end the two tables and the name."""

import mmap
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
import zstandard
from blake3 import blake3

from holdfast.core.errors import FailedError
from holdfast.repository.keys import SALT_BYTES, Keys
from holdfast.repository.nodes import ID_BYTES
from holdfast.repository.packs import (
    HEADER,
    MAXIMUM_RECORD_BYTES,
    RECORD_HEAD,
    RECORD_MAGIC,
    RECORD_ROW,
    TAG_BYTES,
    Pack,
    PackHeader,
    PackTable,
    PackType,
    back,
    encode_header,
    front,
    nonce,
    record_context,
    seal_table,
    sealed_table_bytes,
)
from holdfast.repository.storage.port import Bytes

PACK_BYTES: Final = 32 * 1024 * 1024
BUFFER_BYTES: Final = PACK_BYTES + 2 * MAXIMUM_RECORD_BYTES
NODE_RECORD_BYTES: Final = 32 * 1024
"""Small, since an increment reads single leaves; nodes hardly compress, so nothing is lost by it."""
_LEVEL: Final = 1
"""zstd's fastest: level 3 stores 6 % less for 30 % more CPU, levels below 1 store 16 % more (docs/decisions/0012)."""


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A pack ready to be put, and the buffer to give back once it has been."""

    pack: Pack
    parts: Sequence[Bytes]
    buffer: memoryview


class Buffers:
    """Buffers for packs, each used again once what it held has been put. Any thread."""

    def __init__(self) -> None:
        self._spare: SimpleQueue[memoryview] = SimpleQueue()

    def take(self) -> memoryview:
        """One that came back, else a new one, which takes memory only as far as it is filled."""
        try:
            return self._spare.get_nowait()
        except Empty:
            return memoryview(mmap.mmap(-1, BUFFER_BYTES))

    def give_back(self, buffer: memoryview) -> None:
        """Nobody reads it any more."""
        self._spare.put(buffer)


class PackBuilder:
    """One pack being filled by one thread: its own salt, hence its own key, so that no lock guards the nonce."""

    def __init__(self, keys: Keys, kind: PackType, buffer: memoryview, verify_share: float) -> None:
        self._keys = keys
        self._buffer = buffer
        self._verify_share = verify_share
        self._header = PackHeader(keys.epoch, kind, os.urandom(SALT_BYTES))
        self._sealer = keys.sealer(b"pack", keys.epoch, self._header.salt)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
        self._used = 0
        self._rows: list[tuple[int, int, int, int]] = []
        self._ids: list[bytes] = []
        self._sizes: list[int] = []

    @property
    def full(self) -> bool:
        """Whether this pack should be sealed and another begun: by its records, and by the two tables they need."""
        tables = 2 * sealed_table_bytes(len(self._rows), len(self._ids))
        return self._used + tables >= PACK_BYTES

    def add(self, plain: Bytes, segments: Sequence[tuple[bytes, int]]) -> None:
        """Append a record of these segments, (id, size) each, that lie back to back in `plain`.

        Raises FailedError if a checked record does not decompress to what went in.
        """
        frame = self._compressor.compress(plain)
        if random.random() < self._verify_share:  # noqa: S311 - a sample, not a secret
            _prove(frame, plain)
        self.add_frame(frame, len(plain), segments)

    def add_frame(self, frame: Bytes, plain_bytes: int, segments: Sequence[tuple[bytes, int]]) -> None:
        """Append a record that is compressed already."""
        number = len(self._rows)
        ids = [segment_id for segment_id, _ in segments]
        sizes = [size for _, size in segments]
        contents = b"".join(ids) + np.array(sizes, "<u4").tobytes()
        packed = len(frame) + TAG_BYTES
        context = record_context(self._keys.repository_id, self._header, number, contents, plain_bytes, packed)
        start = self._used + RECORD_HEAD.size
        RECORD_HEAD.pack_into(self._buffer, self._used, RECORD_MAGIC, number, packed, plain_bytes)
        self._sealer.encrypt_into(nonce(number), frame, context, self._buffer[start : start + packed])
        self._used = start + packed
        self._rows.append((start, packed, plain_bytes, len(segments)))
        self._ids += ids
        self._sizes += sizes

    def seal(self) -> SealedPack:
        """Close the pack."""
        rows = np.array(self._rows, RECORD_ROW)
        table_bytes = sealed_table_bytes(len(rows), len(self._ids))
        rows["offset"] += HEADER.size + len(front(b"")) + table_bytes
        ids = np.frombuffer(b"".join(self._ids), np.uint8).reshape(-1, ID_BYTES)
        table = PackTable(rows, ids, np.array(self._sizes, np.uint32))
        sealed = seal_table(self._keys, self._header, table)
        assert len(sealed) == table_bytes
        head = encode_header(self._keys.repository_id, self._header) + front(sealed)
        parts: list[Bytes] = [head, self._buffer[: self._used], back(sealed)]
        name = blake3()
        for part in parts:
            name.update(part)
        pack = Pack(name.hexdigest(), sum(map(len, parts)), self._header, table)
        return SealedPack(pack, parts, self._buffer)


def _prove(frame: bytes, plain: Bytes) -> None:
    if zstandard.ZstdDecompressor().decompress(frame) != bytes(plain):  # views compare item by item
        raise FailedError(
            "a compressed record does not decompress to what went in: this machine's memory or processor fails",
            hint="test the machine's memory; nothing was committed",
            code="self-check",
        )
