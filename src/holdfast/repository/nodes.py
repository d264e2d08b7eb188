"""Nodes of a disk's hash tree, as bytes (docs/format.md, section Trees). All integers are little-endian.

    root   "R"  size u64, cut phase u32, depth u8, id of the top node (32; zeros if the disk is all zeros)
    page   "P"  level u8, count u8, slots u8[count] ascending, ids 32[count]
    leaf   "L"  count u16, starts u16[count] ascending, blocks u8[count], ids 32[count]

A leaf maps one region; a page of level n has children of level n-1, leaves being level 0. An absent child, like a gap
between pieces, is all zeros. An empty node is never stored, so that equal disks have equal roots.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DamagedError
from holdfast.repository.cut import Piece

FAN_OUT: Final = 64
ID_BYTES: Final = 32
_ROOT: Final = struct.Struct("<cQIB32s")
_PAGE: Final = struct.Struct("<cBB")
_LEAF: Final = struct.Struct("<cH")
_NOTHING: Final = bytes(ID_BYTES)


@dataclass(frozen=True, slots=True)
class Root:
    """The top of a disk: exact size in bytes, levels of pages above the leaves, the top node's id (None: all zeros)."""

    size_bytes: int
    depth: int
    top: bytes | None


def depth_of(size_bytes: int, region_bytes: int) -> int:
    """Levels of pages that a disk of this size has: the fewest that reach its last region."""
    regions = max(1, -(-size_bytes // region_bytes))
    depth = 0
    while FAN_OUT**depth < regions:
        depth += 1
    return depth


def encode_root(root: Root) -> bytes:
    """The root's bytes. The cut phase is 0 in this version of the program."""
    return _ROOT.pack(b"R", root.size_bytes, 0, root.depth, root.top or _NOTHING)


def encode_page(level: int, children: Mapping[int, bytes]) -> bytes:
    """A page's bytes from its children by slot."""
    slots = sorted(children)
    return _PAGE.pack(b"P", level, len(slots)) + bytes(slots) + b"".join(children[slot] for slot in slots)


def encode_leaf(pieces: Sequence[Piece]) -> bytes:
    """A leaf's bytes; every piece has its id."""
    count = len(pieces)
    starts = struct.pack(f"<{count}H", *(piece.start for piece in pieces))
    blocks = bytes(piece.blocks for piece in pieces)
    ids = b"".join(piece.id for piece in pieces)
    assert len(ids) == count * ID_BYTES
    return _LEAF.pack(b"L", count) + starts + blocks + ids


def decode_root(plain: bytes) -> Root:
    """Raises DamagedError if this is no root, or one that this program does not understand."""
    if len(plain) != _ROOT.size or plain[:1] != b"R":
        raise _no_node("root")
    _, size, phase, depth, top = _ROOT.unpack(plain)
    if phase:
        raise DamagedError(f"the disk is cut with phase {phase}; this program knows phase 0 only", code="newer-format")
    return Root(size, depth, None if top == _NOTHING else top)


def decode_page(plain: bytes, level: int) -> dict[int, bytes]:
    """The children by slot of a page of this level. Raises DamagedError."""
    if len(plain) < _PAGE.size:
        raise _no_node("page")
    tag, found_level, count = _PAGE.unpack_from(plain)
    if (tag, found_level) != (b"P", level) or len(plain) != _PAGE.size + count * (1 + ID_BYTES):
        raise _no_node("page")
    slots = plain[_PAGE.size : _PAGE.size + count]
    if list(slots) != sorted(set(slots)) or (slots and slots[-1] >= FAN_OUT):
        raise _no_node("page")
    return dict(zip(slots, _ids(plain, _PAGE.size + count), strict=True))


class LeafColumns(NamedTuple):
    """A leaf's pieces, column by column: first block in the region (n), blocks (n), ids (n, 32)."""

    starts: NDArray[np.int64]
    blocks: NDArray[np.int64]
    ids: NDArray[np.uint8]


def leaf_columns(plain: bytes, region_blocks: int) -> LeafColumns:
    """The pieces of a leaf, ascending and apart. Raises DamagedError."""
    if len(plain) < _LEAF.size:
        raise _no_node("leaf")
    tag, count = _LEAF.unpack_from(plain)
    if tag != b"L" or len(plain) != _LEAF.size + count * (3 + ID_BYTES):
        raise _no_node("leaf")
    starts = np.frombuffer(plain, "<u2", count, _LEAF.size).astype(np.int64)
    blocks = np.frombuffer(plain, np.uint8, count, _LEAF.size + 2 * count).astype(np.int64)
    ends = starts + blocks
    if count and (not blocks.all() or (starts[1:] < ends[:-1]).any() or ends[-1] > region_blocks):
        raise _no_node("leaf")
    return LeafColumns(
        starts, blocks, np.frombuffer(plain, np.uint8, offset=_LEAF.size + 3 * count).reshape(-1, ID_BYTES)
    )


def decode_leaf(plain: bytes, region_blocks: int) -> list[Piece]:
    """The same, piece by piece. Raises DamagedError."""
    starts, blocks, _ = leaf_columns(plain, region_blocks)
    ids = _ids(plain, _LEAF.size + 3 * len(starts))
    return [Piece(*row) for row in zip(starts.tolist(), blocks.tolist(), ids, strict=True)]


def leaf_ids(plain: bytes) -> bytes:
    """The ids in a leaf, back to back, and nothing else of it. Raises DamagedError."""
    if len(plain) >= _LEAF.size:
        tag, count = _LEAF.unpack_from(plain)
        if tag == b"L" and len(plain) == _LEAF.size + count * (3 + ID_BYTES):
            return plain[_LEAF.size + 3 * count :]
    raise _no_node("leaf")


def _ids(plain: bytes, offset: int) -> list[bytes]:
    return [plain[at : at + ID_BYTES] for at in range(offset, len(plain), ID_BYTES)]


def _no_node(kind: str) -> DamagedError:
    return DamagedError(f"a record that should be a tree's {kind} is none", code="not-a-node")
