"""How fast a collection finds out what points reach: entries of leaf maps followed a second, on one processor."""

import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Pair, measures
from bench.measure import WrongBytesError, say
from bench.site import Site
from holdfast.repository import KdfCost, MemoryStorage, Repository, create_repository, depth_of, rewrite, write_root
from holdfast.repository.collect.marking import Marking
from holdfast.repository.packs import DATA, RECORD_ROW, Pack, PackHeader, PackTable

_LEAVES = 32_768  # a disk of 128 GiB
_PIECES = 64  # of 64 KiB each
_VERSIONS = 4
_ROUNDS = 3
_SEED = 11
_NOTE = (
    f"a synthetic disk of 128 GiB, all of it data, in {_VERSIONS} points of which each changed one segment of every"
    " region: leaf maps read, opened and proved, every entry looked up in the index; CPU seconds of one thread"
)


@measures("collect.refs_per_s")
def marking_speed(_site: Site) -> Iterator[tuple[str, Figure]]:
    storage = MemoryStorage()
    repository = create_repository(storage, b"bench", cost=KdfCost(memory_kib=64, iterations=1, lanes=1))
    segments = np.random.default_rng(_SEED).integers(0, 256, (_LEAVES * _PIECES, 32), dtype=np.uint8)
    roots = _write_versions(repository, segments)
    repository.records.index.add(_packs_of(segments))
    references = _LEAVES * _PIECES * _VERSIONS
    runs = []
    for _ in range(_ROUNDS):
        marking = Marking(repository.records)
        began = time.process_time()
        marking.mark(roots)
        runs.append(Pair(ours=references / (time.process_time() - began)))
        say(f"  {runs[-1].ours:,.0f} references a second")
        marked = sum(int(marking.marks.of(number).sum()) for number in range(len(repository.records.index.packs)))
        if marked < len(segments):
            raise WrongBytesError("a segment that a point reaches was not marked")
    yield (
        "collect.refs_per_s",
        Figure(value=sorted(run.ours for run in runs)[_ROUNDS // 2], runs=runs, note=_NOTE),
    )


def _packs_of(segments: NDArray[np.uint8]) -> Iterator[Pack]:
    """Packs that list these ids, and that nobody will read."""
    for first in range(0, len(segments), 1024):
        held = segments[first : first + 1024]
        rows = np.zeros(len(held) // 4, RECORD_ROW)
        rows["segments"], rows["plain"], rows["packed"] = 4, 4 * 65_536, 100_000
        table = PackTable(rows, held, np.full(len(held), 65_536, np.uint32))
        yield Pack(os.urandom(32).hex(), 30 << 20, PackHeader(1, DATA, bytes(32)), table)


def _write_versions(repository: Repository, segments: NDArray[np.uint8]) -> Sequence[bytes]:
    """The roots of the disk's versions."""
    size = _LEAVES * (4 << 20)
    head = b"L" + struct.pack(f"<H{_PIECES}H", _PIECES, *range(0, 16 * _PIECES, 16)) + bytes([16]) * _PIECES
    chance = np.random.default_rng(_SEED + 1)
    roots = []
    with closing(repository.begin()) as attempt:
        for _ in range(_VERSIONS):
            leaves = {}
            for region in range(_LEAVES):
                ids = segments[region * _PIECES : (region + 1) * _PIECES].copy()
                ids[chance.integers(_PIECES)] = segments[chance.integers(len(segments))]
                leaves[region] = attempt.put_node(head + ids.tobytes())
            top = rewrite(None, depth_of(size, 4 << 20), leaves, read=_nothing, put=attempt.put_node)
            roots.append(write_root(size, 4 << 20, top, attempt.put_node))
        attempt.flush()
    return roots


_nothing: Callable[[bytes], bytes] = bytes
