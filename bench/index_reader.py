"""One process that opens an index and looks ids up, as a backup does; what it took is one line of JSON.

python -m bench.index_reader REPOSITORY CACHE
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from bench.listings import PASSPHRASE
from holdfast.repository import LocalDirectory, open_repository
from holdfast.repository.index import Index

_BATCH = 64  # a region's segments
_PACKS, _PER_PACK = 4000, 25
_SEED = 65


def main() -> None:
    repository = open_repository(LocalDirectory.open(Path(sys.argv[1])), PASSPHRASE, Path(sys.argv[2]))
    started, cpu_started = time.monotonic(), time.process_time()
    repository.records.load_index()
    opened, cpu_opened = time.monotonic() - started, time.process_time() - cpu_started
    index = repository.records.index
    known = _known_ids(index)
    unknown = np.random.default_rng(_SEED).integers(0, 256, known.shape, np.uint8)
    for ids in (known, unknown):
        _look_up(index, ids)  # what is measured is warm
    found = [_look_up(index, ids) for ids in (known, unknown)]
    if [hits for hits, _ in found] != [len(known), 0]:
        sys.exit(f"of {len(known)} known and as many unknown ids {found} were found")
    print(
        json.dumps(
            {
                "entries": len(index),
                "open_seconds": opened,
                "open_cpu_seconds": cpu_opened,
                "hits_per_s": len(known) / found[0][1],
                "misses_per_s": len(unknown) / found[1][1],
            }
        )
    )


def _known_ids(index: Index) -> NDArray[np.uint8]:
    """Ids from everywhere, in no order."""
    source = Random(_SEED)
    tables = [index.packs[number].table.ids for number in source.choices(range(len(index.packs)), k=_PACKS)]
    ids = np.concatenate([ids[source.sample(range(len(ids)), _PER_PACK)] for ids in tables])
    return ids[np.random.default_rng(_SEED).permutation(len(ids))]


def _look_up(index: Index, ids: Sequence[bytes] | NDArray[np.uint8]) -> tuple[int, float]:
    """(how many were found, CPU seconds)."""
    started = time.process_time()
    hits = sum(
        int(np.count_nonzero(index.places(ids[at : at + _BATCH])[:, 0] >= 0)) for at in range(0, len(ids), _BATCH)
    )
    return hits, time.process_time() - started


if __name__ == "__main__":
    main()
