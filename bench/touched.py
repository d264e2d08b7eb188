"""Bytes of metadata that an increment costs for each region it touches, on a disk that is full."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from random import Random
from typing import Any

from bench.figures import Figure, Pair, measures
from bench.lent import DISK, LentCapture
from bench.measure import WrongBytesError, size_of_tree
from bench.site import Site
from bench.synthetic import REGION, content
from holdfast.core.extents import Extent
from holdfast.core.point import CaptureKind, Definition, PointDisk, RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import Care, back_up
from holdfast.repository import (
    Attempt,
    Commit,
    KdfCost,
    LocalDirectory,
    Repository,
    create_repository,
    depth_of,
    encode_leaf,
    rewrite,
    write_root,
)
from holdfast.repository.packs import DATA, RECORD_HEAD

_GIB = 1 << 30
_SIZE = 100 * _GIB
_REGIONS = _SIZE // REGION
_TOUCHED = 1000
_BLOCK = 4096
_SEED = 5120
_MACHINE = "synthetic"
_CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
_NOTE = (
    "a disk of 100 GiB, all of it data, whose first point is made of its tree alone: every leaf is cut as a region of"
    " seeded words is and has ids of its own; then the real road: 1,000 regions drawn from a seed, one random 4 KiB"
    " block changed in each, through the mover into a local directory; all that the repository grows by, less the"
    " sealed records of data; what was written compared"
)


@measures("increment.metadata_bytes_per_touched_region")
def metadata_of_touched_regions(site: Site) -> Iterator[tuple[str, Figure]]:
    place = site.place("holdfast") / "repository"
    repository = create_repository(LocalDirectory.create(place), b"bench", cost=_CHEAP)
    full = _first_point(repository)
    before, packs = size_of_tree(place), len(repository.records.index.packs)
    disk = _Disk(sorted(Random(_SEED).sample(range(_REGIONS), _TOUCHED)))
    point = _increment(repository, disk, full)
    metadata = size_of_tree(place) - before - _record_bytes(repository, packs)
    stored = repository.open_disk(point.disks[0].root)
    for region in disk.touched:
        if stored.read(region * REGION + _place(region), _BLOCK) != _written(region):
            raise WrongBytesError(f"region {region} came back different")
    yield (
        "increment.metadata_bytes_per_touched_region",
        Figure(value=metadata / _TOUCHED, runs=[Pair(ours=metadata)], note=_NOTE),
    )


def _first_point(repository: Repository) -> RestorePoint:
    """Commit a point of a tree whose leaves are those of a full disk; no data is stored."""
    words = memoryview(content("words", (0,), REGION))
    pieces = repository.cutter.cut(repository.cutter.words(words))
    source = Random(_SEED)
    with closing(repository.begin()) as attempt:
        leaves: dict[int, bytes | None] = {
            region: attempt.put_node(encode_leaf([piece._replace(id=source.randbytes(32)) for piece in pieces]))
            for region in range(_REGIONS)
        }
        top = rewrite(None, depth_of(_SIZE, REGION), leaves, _no_node, attempt.put_node)
        root = write_root(_SIZE, REGION, top, attempt.put_node)
        attempt.flush()
        point = _point(root.hex(), attempt)
        repository.log.append(lambda _state, _now: Commit(points=[point]), attempt.base)
    return point


def _no_node(node: bytes) -> bytes:
    raise AssertionError(f"a new tree has no node {node.hex()}")


def _point(root: str, attempt: Attempt) -> RestorePoint:
    now = datetime.now(UTC)
    disk = PointDisk(name=DISK, size_bytes=_SIZE, format="raw", capture="full", reason="", root=root)
    return RestorePoint(
        id=f"{_SEED:016}",
        machine=_MACHINE,
        machine_id=_MACHINE,
        created_at=now,
        captured_at=now,
        consistency="crash",
        parent=None,
        disks=(disk,),
        definition=Definition(),
        verified_share=0.0,
        base=attempt.base,
    )


class _Disk:
    """The same disk with a block written in each of some regions."""

    name = DISK
    size_bytes = _SIZE
    format = "raw"
    capture: CaptureKind = "incremental"
    reason = ""
    mark: dict[str, Any] | None = None

    def __init__(self, touched: Sequence[int]) -> None:
        self.touched = touched
        self._words = content("words", (0,), REGION)

    def data(self) -> Iterable[Extent]:
        return [Extent(0, _SIZE)]

    def changes(self) -> Iterable[Extent] | None:
        starts = (region * REGION + _place(region) for region in self.touched)
        return [Extent(start, start + _BLOCK) for start in starts]

    def open_reader(self) -> "_Disk":
        return self

    def read_into(self, offset: int, buffer: memoryview) -> None:
        region, start = divmod(offset, REGION)
        held = bytearray(self._words)
        held[_place(region) : _place(region) + _BLOCK] = _written(region)
        buffer[:] = held[start : start + len(buffer)]

    def close(self) -> None:
        pass


def _place(region: int) -> int:
    """Where in a region a block is written."""
    return Random(f"{_SEED} {region}").randrange(REGION // _BLOCK) * _BLOCK


def _written(region: int) -> bytes:
    return content("noise", (1, region), _BLOCK)


def _increment(repository: Repository, disk: _Disk, parent: RestorePoint) -> RestorePoint:
    capture = LentCapture(machine=_MACHINE, disks=[disk])
    trusting = Care(proof_rounds=0)  # the first point's data are nowhere, so no share of them can be compared
    return back_up(capture, repository, parent=parent, care=trusting, progress=Silence()).point


def _record_bytes(repository: Repository, known: int) -> int:
    """Bytes of the records in packs of data that came after the first `known` packs."""
    total = 0
    for pack in repository.records.index.packs[known:]:
        if pack.header.type == DATA:
            total += int(pack.table.records["packed"].sum()) + RECORD_HEAD.size * len(pack.table.records)
    return total
