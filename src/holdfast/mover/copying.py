"""Copy a point from one repository into another, ending in one commit there or in nothing.

Two roads. Repositories that *name alike* share id keys and cut: equal disks have equal trees, so records are opened and
sealed anew as they were compressed, and nothing is inflated but to check it. Otherwise the disks are decoded, and cut
and named with the target's keys, as a backup would. On both only what differs from a point that both have is looked at,
and only what the target lacks is sent.
"""

import random
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from holdfast.core.errors import ConflictError, DamagedError, FailedError, RefusedError
from holdfast.core.extents import total_bytes
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.mover.backup import BackupOutcome, Care, Road, Worker, back_up
from holdfast.mover.lent import LentDisk, LentPoint
from holdfast.mover.pool import Shared, run_threads
from holdfast.mover.regions import RegionWorker
from holdfast.mover.streams import RegionWork
from holdfast.repository import (
    Attempt,
    Body,
    Frame,
    FrameReader,
    Lane,
    Layout,
    LayoutReader,
    Piece,
    Repository,
    State,
    StoredDisk,
    encode_leaf,
    leaf_columns,
    restated,
)

_WORTH: Final = 0.75
"""A record is taken over whole if at least this much of it is wanted; else the wanted part is compressed anew."""


class PointThereError(ConflictError):
    """The point to be copied is in the target by now: another copy was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """A point that both repositories have, as each has it: what a copy may build on."""

    source: RestorePoint
    target: RestorePoint


def copy_point(
    source: Repository,
    target: Repository,
    point: RestorePoint,
    *,
    built_on: Common | None,
    care: Care,
    progress: Progress,
) -> BackupOutcome:
    """Make a point of `source` exist in `target` too, with the same id and all that belongs to it.

    Raises PointThereError, DamagedError where the source has lost part of it or the target does not give back what was
    put, and what either storage raises; then nothing is visible, and what was stored spares the next try the work.
    """
    road = Road(verb="Copying", describe=partial(_as_it_was, point, target))
    return _Bringing(source, target, point, care, progress).run(road, built_on)


def mend_point(
    source: Repository, target: Repository, point: RestorePoint, *, care: Care, progress: Progress
) -> BackupOutcome:
    """Bring what `target` has lost of a point that both have from the `source`. What is lost must be marked.

    Raises DamagedError where the source has lost it too, or holds something else under the point's name.
    """
    road = Road(verb="Copying", describe=partial(_as_it_stands, point, source), decide=_marked_again)
    return _Bringing(source, target, point, care, progress).run(road, None)


def _as_it_was(
    point: RestorePoint, target: Repository, draft: RestorePoint, state: State, _now: datetime
) -> RestorePoint:
    """The point, but for what only the target can say: its own roots, and what it has of the past."""
    if point.id in state.standings:
        raise PointThereError(f"point {point.id} is in {target.storage.url} by now")
    if point.id in state.purged:
        message = f"point {point.id} was deleted in {target.storage.url}, which is final"
        raise RefusedError(message, hint="copy another point of the machine", code="point-purged")
    roots = {disk.name: disk.root for disk in draft.disks}
    return replace(
        point,
        parent=point.parent if point.parent in state.standings else None,
        disks=tuple(replace(disk, root=roots[disk.name]) for disk in point.disks),
        definition=draft.definition,
        verified_share=draft.verified_share,
        base=draft.base,
    )


def _as_it_stands(
    wanted: RestorePoint, source: Repository, draft: RestorePoint, state: State, _now: datetime
) -> RestorePoint:
    """The point as the target has it. Raises DamagedError if what was brought is not what it consists of."""
    if wanted.id not in state.standings:
        raise FailedError(f"point {wanted.id} was deleted meanwhile", hint="there is nothing left to heal")
    point = state.standings[wanted.id].point
    brought = {disk.name: disk.root for disk in draft.disks}
    if brought != {disk.name: disk.root for disk in point.disks} or draft.definition != point.definition:
        message = f"point {point.id} of {source.storage.url} does not hold what it holds here"
        raise DamagedError(message, hint="heal from another copy", code="not-a-copy")
    return point


def _marked_again(_point: RestorePoint, state: State) -> Body:
    """The marks once more: whoever planned a collection before has to look at what was brought."""
    return restated(state)


class _Bringing:
    """What a point of `source` consists of is brought into `target`; the road says what it becomes there."""

    def __init__(
        self, source: Repository, target: Repository, point: RestorePoint, care: Care, progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._point = point
        self._care = care
        self._progress = progress
        self._arrivals = _Arrivals(target, care.verify_share)

    def run(self, road: Road, built_on: Common | None) -> BackupOutcome:
        source, target = self._source, self._target
        source.records.load_index()
        if source.names_alike(target):
            road = replace(road, worker=self._taking, open_parent=source.open_disk)
        else:
            road = replace(road, worker=self._cutting)
        before = self._disks_of(built_on.source) if built_on else {}
        lent = LentPoint(source, self._point, before, at_confirm=self._prove)
        parent = built_on.target if built_on else None
        care = replace(self._care, proof_rounds=0)  # trees that were compared need no second look
        return back_up(lent, target, parent=parent, care=care, progress=self._progress, road=road)

    def _disks_of(self, point: RestorePoint) -> dict[str, StoredDisk]:
        """A point's disks, as the source has them; those whose pages are damaged are left out."""
        found = {}
        for disk in point.disks:
            with suppress(DamagedError):
                found[disk.name] = self._source.open_disk(disk.root)
        return found

    def _taking(self, target: Repository, attempt: Attempt, lane: Lane) -> Worker:
        return _Noting(_TakingWorker(self._source, target, attempt, lane), self._arrivals)

    def _cutting(self, target: Repository, attempt: Attempt, lane: Lane) -> Worker:
        return _Noting(RegionWorker(target, attempt, lane), self._arrivals)

    def _prove(self) -> None:
        """Read back from the far end, before the point counts."""
        self._progress.step("Proving what has arrived")
        self._arrivals.prove()


class _Arrivals:
    """A random share of the regions that have been brought, to be read back from where they are now. Any thread."""

    def __init__(self, target: Repository, share: float) -> None:
        self._target = target
        self._share = share
        self._leaves: list[bytes] = []
        self._lock = threading.Lock()

    def note(self, leaf: bytes) -> None:
        """A region has been brought; the first one is always looked at."""
        if self._share and (random.random() < self._share or not self._leaves):  # noqa: S311 - a sample, not a secret
            with self._lock:
                self._leaves.append(leaf)

    def prove(self) -> None:
        """Raise DamagedError unless every byte of the chosen regions comes back and is what its id says."""
        run_threads("mover", Shared(self._leaves), self._read_back)

    def _read_back(self, leaves: Shared[bytes]) -> None:
        target, cut = self._target, self._target.config.cut
        reader = LayoutReader(target.records, target.keys.data_id_key)
        for leaf in leaves:
            columns = leaf_columns(
                target.records.read(leaf, target.keys.node_id_key), cut.region_bytes // cut.block_bytes
            )
            where = Layout(columns.ids, columns.starts * cut.block_bytes, columns.blocks * cut.block_bytes)
            deque(reader.read(where), maxlen=0)


class _TakingWorker:
    """Takes the records of a region over as they were compressed in a repository that names alike."""

    def __init__(self, source: Repository, target: Repository, attempt: Attempt, lane: Lane) -> None:
        self._share = attempt.verify_share
        self._attempt = attempt
        self._lane = lane
        self._frames = FrameReader(source.records, source.keys.data_id_key)
        self._small = RegionWorker(target, attempt, lane)

    def close(self) -> None:
        """Give the readers back."""
        self._small.close()

    def process(self, work: RegionWork) -> tuple[bytes | None, int]:
        """(the region's leaf, None if it is all zeros; how many bytes of the disk that settles)."""
        if not isinstance(work.stream.source, LentDisk):
            return self._small.process(work)
        stored = work.stream.source.stored
        (row,) = stored.leaves_at([work.region])
        pieces = stored.pieces(row.leaf)
        self._take(self._attempt.missing(pieces, work))
        return self._attempt.put_node(encode_leaf(pieces)) if pieces else None, total_bytes(work.data)

    def _take(self, pieces: Sequence[Piece]) -> None:
        """Bring these segments, each from the first copy that is good."""
        for found in self._frames.read([piece.id for piece in pieces]):
            if not (isinstance(found, Frame) and self._take_frame(found)):
                for wanted in found.wanted:
                    plain = self._frames.read_one(wanted)
                    self._lane.add(plain, [(wanted, len(plain))])

    def _take_frame(self, frame: Frame) -> bool:
        """Take a record over if most of it is wanted, else its wanted part; False if what it holds is damaged."""
        whole = frame.wanted_bytes >= _WORTH * frame.plain_bytes
        if whole and random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            self._lane.take(frame.content, frame.segments, frame.wanted_bytes)
            return True
        try:
            segments = self._frames.inflate(frame)
        except DamagedError:
            return False
        if whole:
            self._lane.take(frame.content, frame.segments, frame.wanted_bytes)
        else:
            plain = memoryview(b"".join([piece for _, piece in segments]))
            self._lane.add(plain, [(segment, len(piece)) for segment, piece in segments])
        return True


class _Noting:
    """A worker that tells what it has brought."""

    def __init__(self, worker: Worker, arrivals: _Arrivals) -> None:
        self._worker = worker
        self._arrivals = arrivals

    def process(self, work: RegionWork) -> tuple[bytes | None, int]:
        """As the worker does."""
        leaf, read_bytes = self._worker.process(work)
        if leaf is not None:
            self._arrivals.note(leaf)
        return leaf, read_bytes

    def close(self) -> None:
        """As the worker does."""
        self._worker.close()
