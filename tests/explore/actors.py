"""The actors: the product's own code, on disks of a few blocks."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from holdfast.core.errors import HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.recover import recover_disk
from holdfast.mover import BackupOutcome, Care
from holdfast.repository import CollectionReport, MemoryStorage, Repository, Storage, open_repository
from holdfast.repository.decisions import Body, Entry, Undelete
from holdfast.repository.log import Appended
from tests.explore.alone import START, Ticking
from tests.explore.stage import Judge, Role, Stage, Verdict
from tests.explore.storage import SharedStorage, Shelf
from tests.explore.turns import Actor
from tests.support.decisions import decide
from tests.support.disks import ModelTarget, changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository, restored
from tests.support.storage import RecordingStorage

BLOCK = 4096
UNPROVED: Final = Care(proof_rounds=0)
"""Without a proof in turn, what an increment takes over it does not look at: the commit has to."""


def disk_of(letters: str) -> bytes:
    """A disk of one region per letter; equal letters are equal regions."""
    return b"".join(letter.encode() * 2 * BLOCK + bytes(SMALL_CUT.region_bytes - 2 * BLOCK) for letter in letters)


class Told(NamedTuple):
    """What a backup reported."""

    machine: str
    outcome: BackupOutcome


class History(NamedTuple):
    """A repository that goes on: its objects, and what each machine's disk holds."""

    objects: Mapping[str, bytes]
    contents: Mapping[str, bytes]


class Cast:
    """A repository with some history, and those who are to act on it.

    `may_fail` are codes of errors with which somebody may end although all his own calls went well.
    """

    def __init__(self, *may_fail: str, history: "History | None" = None) -> None:
        self._storage = MemoryStorage()
        if history:
            self._storage.objects.update(history.objects)
            self._repository = open_repository(self._storage, PASSPHRASE)
        else:
            self._repository = new_repository(self._storage, SMALL_CUT)
        self._contents = dict(history.contents) if history else {}
        self._roles: dict[str, Role] = {}
        self._may_fail = may_fail
        self.state = self._repository.state()
        self.points = {standing.point.machine: standing.point for standing in self.state.standings.values()}

    def given(self, machine: str, letters: str) -> RestorePoint:
        """A point that is there from the beginning."""
        content = self._contents[machine] = disk_of(letters)
        point = self.points[machine] = back_up_disks(self._repository, [whole(content)], machine=machine).point
        return point

    def given_decision(self, body: Body) -> None:
        """An entry that is there from the beginning."""
        decide(self._repository.log, body)

    def acts(self, name: str, work: Callable[[Repository], object], *, clock_jump: timedelta = timedelta()) -> None:
        """Somebody who has the repository open from the beginning, and has read nothing yet."""

        def role(storage: SharedStorage) -> object:
            repository = self._seen_through(storage)
            repository.log.clock = Ticking(START + clock_jump)
            return work(repository)

        self._roles[name] = role

    def backs_up(
        self, machine: str, letters: str, *, on: str | None = None, clock_jump: timedelta = timedelta()
    ) -> None:
        """A writer that stores a disk, as changes to another machine's point if it is to build on one."""
        content = self._contents[machine] = disk_of(letters)
        parent = self.points[on] if on else None
        disk = changed(content, self._contents[on]) if on else whole(content)

        def work(repository: Repository) -> Told:
            return Told(machine, back_up_disks(repository, [disk], parent=parent, machine=machine, care=UNPROVED))

        self.acts(machine, work, clock_jump=clock_jump)

    def restores(self, name: str, machine: str, *, clock_jump: timedelta = timedelta()) -> None:
        """A reader of a point that is there from the beginning."""
        content, point = self._contents[machine], self.points[machine]

        def work(repository: Repository) -> None:
            (disk,) = point.disks
            target = ModelTarget(disk.size_bytes)
            recover_disk(repository, point, disk, target, progress=Silence())
            assert bytes(target.content) == content, "wrong bytes are restored"

        self.acts(name, work, clock_jump=clock_jump)

    def collects(self, name: str, *, backwards: bool = False, clock_jump: timedelta = timedelta()) -> None:
        """A collector, who may see all listings backwards."""

        def work(repository: Repository) -> CollectionReport:
            assert isinstance(repository.storage, SharedStorage)
            repository.storage.backwards = backwards
            return repository.collector(Silence()).run()

        self.acts(name, work, clock_jump=clock_jump)

    def decides(self, name: str, body: Body, *, clock_jump: timedelta = timedelta()) -> None:
        """Somebody who puts one entry."""
        self.acts(name, lambda repository: decide(repository.log, body), clock_jump=clock_jump)

    def history(self, objects: Mapping[str, bytes]) -> History:
        """What goes on from here, with these objects."""
        return History(objects, self._contents)

    def stage(self) -> Stage:
        """All of them, and a judge who knows every disk."""
        judge = Judge(self._judge_store, self._judge_end)
        return Stage(
            objects=dict(self._storage.objects), roles=dict(self._roles), judge=judge, of_actors=self._judge_actors
        )

    def _judge_store(self, shelf: Shelf) -> Verdict:
        """If all die now: every point that is not purged restores exactly, and nobody has committed twice."""
        repository = self._alone_with(shelf.objects)
        if any(void.kind == "commit" for void in repository.state().voids):
            return "a writer has committed twice"
        return self._lost(repository)

    def _judge_end(self, shelf: Shelf) -> Verdict:
        """A collector that runs alone, twice, leaves no pack that nobody reads, and no point that lacks one."""
        left = MemoryStorage()
        left.objects.update(shelf.objects)
        try:
            for _ in range(2):
                self._seen_through(left).collector(Silence()).run()
        except HoldfastError as error:
            return f"a quiet collection fails: {error}"
        watched = RecordingStorage(left)
        if wrong := self._lost(self._seen_through(watched)):
            return f"after a quiet collection {wrong}"
        garbage = {name for name in left.objects if name.startswith("packs/")} - set(watched.names("read", "packs/"))
        return f"garbage is never deleted: {', '.join(sorted(garbage))}" if garbage else None

    def _lost(self, repository: Repository) -> Verdict:
        """The first point that does not restore exactly."""
        for standing in repository.state().standings.values():
            machine = standing.point.machine
            try:
                if restored(repository, standing.point) != self._contents[machine]:
                    return f"the point of {machine} restores wrong bytes"
            except Exception as error:  # noqa: BLE001 - whatever it is, the point is lost
                return f"the point of {machine} cannot be restored: {error}"
        return None

    def _seen_through(self, storage: Storage) -> Repository:
        """By somebody who has the keys and knows nothing yet."""
        return Repository(storage, self._repository.config, self._repository.keys)

    def _alone_with(self, objects: Mapping[str, bytes]) -> Repository:
        """By somebody who is alone with these objects."""
        storage = MemoryStorage()
        storage.objects.update(objects)
        return self._seen_through(storage)

    def _judge_actors(self, shelf: Shelf, actors: Sequence[Actor]) -> Verdict:
        state = self._alone_with(shelf.objects).state()
        for actor in actors:
            if actor.error and not actor.spoilt and actor.error.code not in self._may_fail:
                return f"{actor.name} fails although all went well: {actor.error}"
            match actor.result:
                case Told(outcome=outcome) if not {outcome.point.id} & (state.standings.keys() | state.purged.keys()):
                    return f"{actor.name} reports a point that the log does not know"
                case Appended(entry=Entry(body=Undelete(points=back)), void=[]) if state.purged.keys() & {*back}:
                    return f"{actor.name} was told that a point is back, and it was purged all the same"
                case _:
                    pass
        return None
