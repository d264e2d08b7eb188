"""Back up: a capture's disks and definition into the repository, ending in one commit or in nothing."""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Protocol

from holdfast.core.errors import DamagedError
from holdfast.core.extents import normalise
from holdfast.core.point import Definition, PointDisk, RestorePoint
from holdfast.core.ports import Capture, CapturedDisk
from holdfast.core.progress import Progress
from holdfast.mover.locking import PointLock
from holdfast.mover.pool import Shared, run_threads
from holdfast.mover.regions import RegionWorker
from holdfast.mover.streams import BytesSource, Planner, Proof, RegionWork, Stream
from holdfast.repository import (
    DEFAULT_VERIFY_SHARE,
    Attempt,
    BlockMissingError,
    Body,
    Commit,
    Lane,
    Repository,
    State,
    StoredDisk,
    depth_of,
    kept_since,
    rewrite,
    write_root,
)
from holdfast.repository.storage.port import ObjectMissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How much a backup trusts.

    `verify_share` (0 to 1) of what is written is decoded and read back before it counts. With `heal` every disk is read
    in full and what is stored counts as known only once it has been read too: what was damaged in the repository and is
    still on the disks is stored anew. Of what did not change an increment reads one share in `proof_rounds` all the
    same, another each time, and compares it with what is stored; 0 trusts the change list for ever. For `lock_for` from
    its commit on nobody can delete the point; None does not lock it.
    """

    verify_share: float = DEFAULT_VERIFY_SHARE
    heal: bool = False
    proof_rounds: int = 30
    lock_for: timedelta | None = None


class Worker(Protocol):
    """Brings one region after the other into the repository; for one thread."""

    def process(self, work: RegionWork) -> tuple[bytes | None, int]:
        """(the region's leaf, None if it is all zeros; bytes read from the source)."""

    def close(self) -> None:
        """Give back what was opened."""


def _committed_now(draft: RestorePoint, _state: State, now: datetime) -> RestorePoint:
    return replace(draft, created_at=now)


def _commit_of(point: RestorePoint, _state: State) -> Body:
    return Commit(points=[point])


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """How what was captured gets into the repository, and which point it becomes there.

    `open_parent` opens a disk of the parent by its root; None: as it stands in the repository. `describe` makes the
    point of a draft, on the state right below its commit, `decide` the decision that lets it count.
    """

    verb: str = "Backing up"
    worker: Callable[[Repository, Attempt, Lane], Worker] = RegionWorker
    open_parent: Callable[[str], StoredDisk] | None = None
    describe: Callable[[RestorePoint, State, datetime], RestorePoint] = _committed_now
    decide: Callable[[RestorePoint, State], Body] = _commit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskOutcome:
    """Bytes read of one disk."""

    name: str
    read_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOutcome:
    """A committed point and what it cost.

    `read_bytes` came from the source, `sent_bytes` of plain data the repository did not have, `stored_bytes` is by how
    much this backup made it grow. `proved_bytes` more were read only to be compared with what is stored. Nobody can
    delete the point before `locked_until`.
    """

    point: RestorePoint
    read_bytes: int
    proved_bytes: int
    sent_bytes: int
    stored_bytes: int
    disks: tuple[DiskOutcome, ...]
    locked_until: datetime | None


def back_up(
    capture: Capture,
    repository: Repository,
    *,
    parent: RestorePoint | None,
    care: Care = Care(),
    progress: Progress,
    road: Road = Road(),
) -> BackupOutcome:
    """Store a capture and commit it as a restore point.

    `parent` is the point that the capture's changes are relative to. Raises what the source, the storage or
    `capture.confirm` raises; then nothing is visible, and what was stored already spares the next try the work.
    """
    with closing(repository.begin(care.verify_share)) as attempt:
        if care.heal:
            attempt.doubt()
        return _Backup(capture, repository, attempt, care, progress, road).run(parent)


class _CollectedError(Exception):
    """As of this state of the log, something that a point needs may have been condemned."""

    def __init__(self, state: State) -> None:
        super().__init__(state.number)
        self.state = state


class _Backup:
    """One run of `back_up`."""

    def __init__(
        self,
        capture: Capture,
        repository: Repository,
        attempt: Attempt,
        care: Care,
        progress: Progress,
        road: Road,
    ) -> None:
        self._capture = capture
        self._repository = repository
        self._attempt = attempt
        self._proof_rounds = care.proof_rounds
        self._lock = PointLock(repository, attempt, care.lock_for, progress) if care.lock_for is not None else None
        self._progress = progress
        self._road = road
        self._open_parent = road.open_parent or repository.open_disk
        cut = repository.config.cut
        self._planner = Planner(cut.block_bytes, cut.region_bytes)
        self._counting = threading.Lock()
        self._done_bytes = 0
        self._total_bytes = 0

    def run(self, parent: RestorePoint | None) -> BackupOutcome:
        capture, planner = self._capture, self._planner
        if lost := self._attempt.damaged.unmarked:
            self._progress.warning(_loss(lost))
        built_on = None if self._attempt.doubting else parent
        disks = [(disk, self._plan(disk, built_on)) for disk in capture.disks]
        blobs = [planner.blob(blob) if blob is not None else None for blob in (capture.definition, capture.nvram)]
        streams = _streams_of(disks, blobs)
        self._total_bytes = sum(stream.expected_bytes for stream in streams)
        self._progress.step(f"{self._road.verb} {capture.machine}")
        point, entry_bytes = self._store_and_commit(parent, disks, blobs)
        return BackupOutcome(
            point=point,
            read_bytes=sum(stream.read_bytes for _, stream in disks),
            proved_bytes=sum(stream.proved_bytes for _, stream in disks),
            sent_bytes=self._attempt.sent_bytes,
            stored_bytes=self._attempt.stored_bytes + entry_bytes,
            disks=tuple(DiskOutcome(name=disk.name, read_bytes=stream.read_bytes) for disk, stream in disks),
            locked_until=self._lock.complete(point) if self._lock else None,
        )

    def _plan(self, disk: CapturedDisk, parent: RestorePoint | None) -> Stream:
        """A disk's changes to the parent's tree, and what that tree lacks; all of it where there is no sound one."""
        before = parent.disk(disk.name) if parent and disk.capture == "incremental" else None
        if parent is None or before is None:
            return self._planner.disk(disk, None)
        damaged = self._attempt.damaged
        try:
            tree = self._open_parent(before.root)
            lacking = damaged.regions_of(tree) if damaged.is_news_since(parent.base) else ()
            return self._planner.disk(disk, tree, lacking, Proof(self._proof_rounds, before.proof))
        except DamagedError:
            self._attempt.doubt()
            return self._planner.disk(disk, None)

    def _store_and_commit(
        self, parent: RestorePoint | None, disks: Sequence[tuple[CapturedDisk, Stream]], blobs: Sequence[Stream | None]
    ) -> tuple[RestorePoint, int]:
        """Store everything and make the point exist, as often as a collection takes something from under it.

        Returns the point and the bytes its entry took.
        """
        streams = _streams_of(disks, blobs)
        while True:
            roots = self._store(streams)
            definition = Definition(xml=_root_of(blobs[0], roots), nvram=_root_of(blobs[1], roots))
            draft = self._draft(parent, disks, definition, roots)
            try:
                return self._commit(draft, lambda state: self._counts(parent, streams, state))
            except _CollectedError as collected:
                self._progress.step("Storing again what was collected meanwhile")
                self._plan_again(parent, streams, collected.state)

    def _draft(
        self,
        parent: RestorePoint | None,
        disks: Sequence[tuple[CapturedDisk, Stream]],
        definition: Definition,
        roots: Mapping[Stream, bytes],
    ) -> RestorePoint:
        """The point as far as it can be told before its commit."""
        return RestorePoint(
            id=secrets.token_hex(8),
            machine=self._capture.machine,
            machine_id=self._capture.machine_id,
            created_at=self._capture.captured_at,
            captured_at=self._capture.captured_at,
            consistency=self._capture.consistency,
            parent=parent.id if parent else None,
            disks=tuple(_point_disk(disk, stream, roots[stream], parent) for disk, stream in disks),
            definition=definition,
            verified_share=self._attempt.verify_share,
            base=self._attempt.base,
        )

    def _counts(self, parent: RestorePoint | None, streams: Sequence[Stream], state: State) -> bool:
        """Whether, as of a later state, all is still there that was stored, met, or taken over from the parent."""
        built_on = parent if any(stream.parent for stream in streams) else None
        kept = built_on is None or kept_since(self._attempt.base, built_on.id, state)
        return kept and self._attempt.holds(state)

    def _plan_again(self, parent: RestorePoint | None, streams: Sequence[Stream], state: State) -> None:
        """Name everything again, as of this state; what does not count any more is read and stored once more."""
        self._attempt.begin_again(state)
        parent_kept = parent is None or kept_since(self._attempt.base, parent.id, state)
        for stream in streams:
            if stream.parent and not parent_kept:
                self._planner.start_over(stream)
            else:
                leaves = ((region, leaf) for region, leaf in stream.leaves.items() if leaf)
                self._planner.again(
                    stream, {region for region, leaf in leaves if not self._attempt.relies_on_leaf(leaf)}
                )
            self._total_bytes += stream.expected_bytes

    def _store(self, streams: Sequence[Stream]) -> dict[Stream, bytes]:
        """Bring home all that the point needs, and the root of each stream.

        What a sibling had promised and did not bring is read and stored again, and the trees are made anew over it:
        nothing obliges a block device to read the same twice.
        """
        work: Iterable[RegionWork] = chain.from_iterable(stream.work for stream in streams)
        while True:
            self._read(work, streams)
            roots = {stream: self._put_tree(stream) for stream in streams}
            self._progress.step("Making it durable")
            again = self._attempt.flush()
            if not again:
                return roots
            work = [each for each in again if isinstance(each, RegionWork)]
            assert len(work) == len(again), "somebody else's work"

    def _read(self, work: Iterable[RegionWork], streams: Sequence[Stream]) -> None:
        """Work it off; a stream whose parent proves damaged meanwhile, or its change list a lie, is read whole."""
        run_threads("mover", Shared(work), self._work_off)
        if any(stream.shaken for stream in streams):
            self._attempt.doubt()
        if again := [stream for stream in streams if stream.parent and (stream.shaken or stream.caught)]:
            for stream in again:
                if stream.caught:
                    self._progress.warning(_alarm(stream))
                self._planner.start_over(stream)
            self._total_bytes += sum(stream.expected_bytes for stream in again)
            run_threads("mover", Shared(chain.from_iterable(stream.work for stream in again)), self._work_off)

    def _work_off(self, shared: Shared[RegionWork]) -> None:
        """What each thread does."""
        with (
            self._attempt.lane() as lane,
            closing(self._road.worker(self._repository, self._attempt, lane)) as worker,
        ):
            for work in shared:
                leaf, read_bytes = worker.process(work)
                with self._counting:
                    if work.unchanged and leaf == work.old_leaf:
                        work.stream.proved_bytes += read_bytes
                        continue
                    work.stream.leaves[work.region] = leaf
                    work.stream.read_bytes += read_bytes
                    self._done_bytes += read_bytes
                    done = min(self._done_bytes, self._total_bytes)
                self._progress.advance(done, self._total_bytes)

    def _put_tree(self, stream: Stream) -> bytes:
        """Store the pages and the root over a stream's leaves."""
        size, region_bytes = stream.source.size_bytes, self._planner.region_bytes
        old = stream.parent.root if stream.parent else None
        read = stream.parent.read_node if stream.parent else _no_node
        depth = depth_of(size, region_bytes)
        top = rewrite(old, depth, stream.leaves, read=read, put=self._attempt.put_node)
        return write_root(size, region_bytes, top, self._attempt.put_node)

    def _commit(self, draft: RestorePoint, counts: Callable[[State], bool]) -> tuple[RestorePoint, int]:
        """Make the point exist, if all that was read belongs to the instant.

        Raises _CollectedError if, as of the log's last entry, something of it may be gone.
        """
        made: list[RestorePoint] = []

        def make(state: State, now: datetime) -> Body:
            if not counts(state):
                raise _CollectedError(state)
            point = self._road.describe(draft, state, now)
            made.append(point)
            return self._road.decide(point, state)

        try:
            if self._lock:
                self._lock.prepare(draft)
            self._capture.confirm()
        except (BlockMissingError, ObjectMissingError):  # of what was stored, if a collection was faster than our entry
            state = self._repository.state()
            if counts(state):
                raise
            raise _CollectedError(state) from None
        appended = self._repository.log.append(self._lock.of(make) if self._lock else make, self._attempt.base)
        return made[-1], appended.stored_bytes


def _streams_of(disks: Sequence[tuple[CapturedDisk, Stream]], blobs: Sequence[Stream | None]) -> list[Stream]:
    return [stream for _, stream in disks] + [blob for blob in blobs if blob]


def _point_disk(disk: CapturedDisk, stream: Stream, root: bytes, parent: RestorePoint | None) -> PointDisk:
    built_on = disk.capture == "full" or stream.parent is not None
    before = parent.disk(disk.name) if parent and stream.parent else None
    return PointDisk(
        name=disk.name,
        size_bytes=disk.size_bytes,
        format=disk.format,
        capture=disk.capture if built_on else "full",
        reason=disk.reason if built_on else _why_not_built_on(stream),
        root=root.hex(),
        mark=disk.mark,
        proof=before.proof + 1 if before else 0,
    )


def _why_not_built_on(stream: Stream) -> str:
    return "not all of its changes were told" if stream.caught else "the point before cannot be built on"


def _loss(records: int) -> str:
    return (
        f"the repository has lost packs with {records} records: what disks still hold of them is stored anew; "
        "`holdfast repository check --mark` says which points that hurts, and remembers it"
    )


def _alarm(stream: Stream) -> str:
    assert not isinstance(stream.source, BytesSource)
    ranges = ", ".join(f"{start} to {end}" for start, end in normalise(stream.caught))
    return (
        f"disk {stream.source.name} differs from its last point at bytes {ranges}, though it was told not to have "
        "changed there: all of it was read, and this point is right; points since its last full read may not be"
    )


def _root_of(stream: Stream | None, roots: dict[Stream, bytes]) -> str | None:
    return roots[stream].hex() if stream else None


def _no_node(node: bytes) -> bytes:
    raise AssertionError(node.hex())  # a tree built anew reads nothing
