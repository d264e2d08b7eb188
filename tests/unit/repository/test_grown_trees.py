"""Disks that grow past what their tree's depth can reach."""

import random

import pytest
from blake3 import blake3

from holdfast.repository.nodes import FAN_OUT, Root
from holdfast.repository.tree import RegionLeaf, leaves, rewrite


class Nodes:
    """Stored nodes, of which only those made durable can be read: an attempt's own are not yet."""

    def __init__(self) -> None:
        self.durable: dict[bytes, bytes] = {}
        self.fresh: dict[bytes, bytes] = {}

    def put(self, plain: bytes) -> bytes:
        node = blake3(plain).digest()
        self.fresh[node] = plain
        return node

    def read(self, node: bytes) -> bytes:
        return self.durable[node]

    def commit(self) -> None:
        self.durable |= self.fresh
        self.fresh.clear()


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("grown_by", range(3))
@pytest.mark.parametrize("changes", [0, 1, 50])
def test_a_grown_tree_equals_one_built_anew_and_reads_nothing_just_stored(
    before: int, grown_by: int, changes: int
) -> None:
    chance = random.Random(f"{before} {grown_by} {changes}")
    nodes = Nodes()
    old = some_leaves(chance, FAN_OUT**before, 40)
    top = rewrite(None, before, old, nodes.read, nodes.put)
    nodes.commit()

    depth = before + grown_by
    edits = some_leaves(chance, FAN_OUT**depth, changes) | dict.fromkeys(chance.sample(sorted(old), len(old) // 3))
    grown = rewrite(Root(1, before, top), depth, edits, nodes.read, nodes.put)

    nodes.commit()
    wanted = {region: leaf for region, leaf in {**old, **edits}.items() if leaf}
    assert grown == rewrite(None, depth, wanted, nodes.read, nodes.put)
    assert list(leaves(Root(1, depth, grown), nodes.read)) == [RegionLeaf(*row) for row in sorted(wanted.items())]


def some_leaves(chance: random.Random, regions: int, count: int) -> dict[int, bytes | None]:
    return {chance.randrange(regions): chance.randbytes(32) for _ in range(count)}
