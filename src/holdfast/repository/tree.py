"""Reading and rewriting a disk's hash tree. Cost follows what is touched: untouched subtrees are shared as they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from holdfast.repository.nodes import FAN_OUT, Root, decode_page, depth_of, encode_page, encode_root

ReadNode = Callable[[bytes], bytes]
PutNode = Callable[[bytes], bytes]


class RegionLeaf(NamedTuple):
    """A region's number and the id of its leaf; None where the region is all zeros."""

    region: int
    leaf: bytes | None


class LeafChange(NamedTuple):
    """A region whose leaf is another than before; None where it is, or was, all zeros."""

    region: int
    now: bytes | None
    before: bytes | None


def leaves(root: Root, read: ReadNode) -> Iterator[RegionLeaf]:
    """The leaves of a disk in order; regions that are all zeros are left out."""
    if root.top:
        yield from _leaves_below(root.top, root.depth, 0, read)


def leaves_at(root: Root, regions: Sequence[int], read: ReadNode) -> Iterator[RegionLeaf]:
    """The leaf of each of these ascending regions, reading only the pages above them."""
    yield from _leaves_at(root.top, root.depth, [region for region in regions if region < FAN_OUT**root.depth], read)
    yield from (RegionLeaf(region, None) for region in regions if region >= FAN_OUT**root.depth)


def differences(now: Root, before: Root, read: ReadNode) -> Iterator[LeafChange]:
    """The regions in which two disks differ, in order; what lies below equal nodes is not looked at.

    `read` must know the nodes of both.
    """
    these, those = (_Subtree(root.top, root.depth) if root.top else None for root in (now, before))
    yield from _differences(these, those, max(now.depth, before.depth), 0, read)


def write_root(size_bytes: int, region_bytes: int, top: bytes | None, put: PutNode) -> bytes:
    """Store the root over a top node made for a disk of this size; returns its id."""
    return put(encode_root(Root(size_bytes, depth_of(size_bytes, region_bytes), top)))


def rewrite(
    old: Root | None, depth: int, changed: Mapping[int, bytes | None], read: ReadNode, put: PutNode
) -> bytes | None:
    """The top node of a tree of `depth` that is `old` with these regions' leaves put in their places.

    `old` is None for a new tree and may be shallower than `depth`, where its disk has grown.
    """
    rows = [RegionLeaf(region, changed[region]) for region in sorted(changed)]
    top = _Subtree(old.top, old.depth) if old and old.top else None
    return _rewrite(top, depth, rows, read, put)


class _Subtree(NamedTuple):
    """A node of the old tree, and its level."""

    node: bytes
    level: int


def _rewrite(
    old: _Subtree | None, level: int, rows: Sequence[RegionLeaf], read: ReadNode, put: PutNode
) -> bytes | None:
    if not rows and (old is None or old.level == level):
        return old.node if old else None
    if level == 0:
        return rows[0].leaf
    children = _children(old, level, read)
    span = FAN_OUT ** (level - 1)
    groups = {slot: list(group) for slot, group in groupby(rows, lambda row: row.region // span % FAN_OUT)}
    rewritten = {
        slot: child
        for slot in sorted(children.keys() | groups.keys())
        if (child := _rewrite(children.get(slot), level - 1, groups.get(slot, ()), read, put))
    }
    return put(encode_page(level, rewritten)) if rewritten else None


def _children(old: _Subtree | None, level: int, read: ReadNode) -> dict[int, _Subtree]:
    """What stands below `level` before the rewrite: the children of `old`, or `old` where the tree grows above it."""
    if old is None:
        return {}
    if old.level < level:
        return {0: old}
    return {slot: _Subtree(child, level - 1) for slot, child in decode_page(read(old.node), level).items()}


def _differences(
    now: _Subtree | None, before: _Subtree | None, level: int, first: int, read: ReadNode
) -> Iterator[LeafChange]:
    if now == before:
        return
    if level == 0:
        yield LeafChange(first, now and now.node, before and before.node)
        return
    these, those = _children(now, level, read), _children(before, level, read)
    span = FAN_OUT ** (level - 1)
    for slot in sorted(these.keys() | those.keys()):
        yield from _differences(these.get(slot), those.get(slot), level - 1, first + slot * span, read)


def _leaves_below(node: bytes, level: int, first: int, read: ReadNode) -> Iterator[RegionLeaf]:
    if level == 0:
        yield RegionLeaf(first, node)
        return
    span = FAN_OUT ** (level - 1)
    for slot, child in decode_page(read(node), level).items():
        yield from _leaves_below(child, level - 1, first + slot * span, read)


def _leaves_at(node: bytes | None, level: int, regions: Sequence[int], read: ReadNode) -> Iterator[RegionLeaf]:
    if node is None or level == 0:
        yield from (RegionLeaf(region, node) for region in regions)
        return
    children = decode_page(read(node), level)
    span = FAN_OUT ** (level - 1)
    for slot, group in groupby(regions, lambda region: region // span % FAN_OUT):
        yield from _leaves_at(children.get(slot), level - 1, list(group), read)
