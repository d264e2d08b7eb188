"""A stored disk: its size, where it holds data, and reads at any offset. Every age reads alike."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple

import numpy as np

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent, normalise
from holdfast.repository.config import Cut
from holdfast.repository.cut import Piece
from holdfast.repository.keys import Keys
from holdfast.repository.nodes import ID_BYTES, decode_leaf, decode_root, depth_of, leaf_columns
from holdfast.repository.packs import MAXIMUM_RECORD_BYTES
from holdfast.repository.reading import Layout, LayoutReader
from holdfast.repository.records import Records
from holdfast.repository.tree import LeafChange, RegionLeaf, differences, leaves, leaves_at

_LEAVES_AT_ONCE: Final = 1024
_NODE_ROOM_BYTES: Final = 2 * MAXIMUM_RECORD_BYTES
"""More than any node fills, so that no two are neighbours."""


class LeafMap(NamedTuple):
    """The leaf of a region: its id, and its bytes."""

    region: int
    id: bytes
    content: bytes


class StoredDisk:
    """One disk of one point, read-only. Safe to use from many threads."""

    def __init__(self, records: Records, keys: Keys, cut: Cut, root: bytes) -> None:
        self._records = records
        self._keys = keys
        self._block = cut.block_bytes
        self._region = cut.region_bytes
        self.root = decode_root(self.read_node(root))
        self._regions = -(-self.root.size_bytes // self._region)
        if self.root.depth != depth_of(self.root.size_bytes, self._region):
            raise _too_large("tree")

    @property
    def region_bytes(self) -> int:
        """What one leaf maps."""
        return self._region

    @property
    def size_bytes(self) -> int:
        """Exact size."""
        return self.root.size_bytes

    def region(self, number: int) -> Extent:
        """The bytes that a leaf maps, never past the disk's end."""
        start = number * self._region
        return Extent(start, min(start + self._region, self.size_bytes))

    def read_node(self, node: bytes) -> bytes:
        """A tree node's bytes."""
        return self._records.read(node, self._keys.node_id_key)

    def leaves(self) -> Iterator[RegionLeaf]:
        """Leaves of the regions that hold data, in order. Raises DamagedError."""
        for row in leaves(self.root, self.read_node):
            if row.region >= self._regions:
                raise _too_large("tree")
            yield row

    def leaves_at(self, regions: list[int]) -> Iterator[RegionLeaf]:
        """The leaves of these ascending regions."""
        return leaves_at(self.root, regions, self.read_node)

    def changes_since(self, before: "StoredDisk") -> Iterator[LeafChange]:
        """The regions in which another disk of this repository differs, in order."""
        return differences(self.root, before.root, self.read_node)

    def pieces(self, leaf: bytes | None) -> list[Piece]:
        """A leaf's pieces; none for a region that is all zeros."""
        return decode_leaf(self.read_node(leaf), self._region // self._block) if leaf else []

    def layouts(self) -> Iterator[Layout]:
        """The segments of each region that holds data, in order. Raises DamagedError."""
        for leaf in self.leaf_maps():
            yield self._layout_of(leaf.region, leaf.content)

    def leaf_maps(self) -> Iterator[LeafMap]:
        """The leaf of each region that holds data, in order, read many at a time. Raises DamagedError."""
        rows = self.leaves()
        while batch := [(region, leaf) for region, leaf in islice(rows, _LEAVES_AT_ONCE) if leaf]:
            nodes = self._read_nodes([leaf for _, leaf in batch])
            for number, (region, leaf) in enumerate(batch):
                yield LeafMap(region, leaf, nodes.pop(number))

    def layouts_at(self, regions: Sequence[int]) -> dict[int, Layout]:
        """The segments of those of these ascending regions that hold data. Raises DamagedError."""
        rows = [(region, leaf) for region, leaf in self.leaves_at(list(regions)) if leaf]
        nodes = self._read_nodes([leaf for _, leaf in rows])
        return {region: self._layout_of(region, nodes[number]) for number, (region, _) in enumerate(rows)}

    def extents_changed_since(self, before: "StoredDisk") -> Iterator[Extent]:
        """Segments in which another disk of this repository differs, as far as this one reaches, ascending and apart.

        Cost follows change. Raises DamagedError.
        """
        rows = self.changes_since(before)
        while batch := list(islice(rows, _LEAVES_AT_ONCE)):
            wanted = [leaf for row in batch for leaf in (row.now, row.before) if leaf]
            nodes = dict(zip(wanted, map(self._read_nodes(wanted).__getitem__, range(len(wanted))), strict=True))
            yield from normalise(chain.from_iterable(self._differing(row, nodes) for row in batch))

    def _differing(self, row: LeafChange, nodes: Mapping[bytes, bytes]) -> Iterator[Extent]:
        blocks = self._region // self._block
        now, before = ({*decode_leaf(nodes[leaf], blocks)} if leaf else set() for leaf in (row.now, row.before))
        base = row.region * self._region
        for piece in now ^ before:
            start, end = base + piece.start * self._block, base + piece.end * self._block
            if start < self.size_bytes:
                yield Extent(start, min(end, self.size_bytes))

    def _read_nodes(self, ids: Sequence[bytes]) -> dict[int, bytes]:
        """Nodes by their place in the list: read in few large reads, as a disk with one node in each of its rooms."""
        rooms = np.arange(len(ids), dtype=np.int64) * _NODE_ROOM_BYTES
        columns = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)
        wanted = Layout(columns, rooms, np.full_like(rooms, _NODE_ROOM_BYTES))
        reader = LayoutReader(self._records, self._keys.node_id_key)
        return {start // _NODE_ROOM_BYTES: bytes(content) for start, content in reader.read(wanted)}

    def layout(self, region: int, leaf: bytes) -> Layout:
        """The segments of a leaf, and where each belongs: whole blocks, but never past the disk's end.

        Raises DamagedError.
        """
        return self._layout_of(region, self.read_node(leaf))

    def _layout_of(self, region: int, node: bytes) -> Layout:
        columns = leaf_columns(node, self._region // self._block)
        starts = region * self._region + columns.starts * self._block
        if len(starts) and starts[-1] >= self.size_bytes:
            raise _too_large("leaf")
        return Layout(columns.ids, starts, np.minimum(columns.blocks * self._block, self.size_bytes - starts))

    def extent(self, region: int, piece: Piece) -> Extent:
        """The bytes of the disk that a piece holds: whole blocks, but never past its end. Raises DamagedError."""
        start = region * self._region + piece.start * self._block
        if start >= self.size_bytes:
            raise _too_large("leaf")
        return Extent(start, min(start + piece.blocks * self._block, self.size_bytes))

    def read(self, offset: int, length: int) -> bytes:
        """Any bytes of the disk."""
        out = bytearray(length)
        end = offset + length
        regions = list(range(offset // self._region, -(-end // self._region)))
        for region, leaf in self.leaves_at(regions):
            for piece in self.pieces(leaf):
                held = self.extent(region, piece)
                start, stop = max(held.start, offset), min(held.end, end)
                if start < stop:
                    plain = self._records.read(piece.id, self._keys.data_id_key)
                    out[start - offset : stop - offset] = plain[start - held.start : stop - held.start]
        return bytes(out)

    def read_all(self) -> bytes:
        """The whole disk: for small ones."""
        return self.read(0, self.size_bytes)


def _too_large(kind: str) -> DamagedError:
    return DamagedError(f"a {kind} reaches past the end of its disk", code="not-a-node")
