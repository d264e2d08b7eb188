"""The power goes at every step: what was there stays, what was reported is there, and the next backup is exact."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count
from pathlib import Path

import pytest

from holdfast.core.errors import NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.repository import LocalDirectory, MemoryStorage, Repository, Storage, open_repository
from holdfast.repository.storage.port import Stored
from tests.support.disks import changed, whole
from tests.support.kernel import Event, Fate, Kernel, Medium, lay_out, watched
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, reopened, restored
from tests.support.storage import FATES, FaultyStorage, PowerCut

DEFINITION = b"<domain/>" * 700


def content(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


FIRST = content(1)
SECOND = FIRST[:100_000] + content(2, 70_000) + FIRST[170_000:]
THIRD = content(3, 250_000)


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several packs and index objects in each backup, always as many, so that there are more orders to get wrong."""
    small_packs_of_one_lane(monkeypatch)


def small_packs_of_one_lane(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    patch.setattr("holdfast.repository.packing.PACK_BYTES", 50_000)
    patch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 2)


def first_backup(repository: Repository) -> RestorePoint:
    return back_up_disks(repository, [whole(FIRST)], definition=DEFINITION).point


def second_backup(repository: Repository, parent: RestorePoint) -> RestorePoint:
    return back_up_disks(repository, [changed(SECOND, FIRST)], parent=parent, definition=DEFINITION).point


def require_all_well(
    storage: Storage,
    known: Sequence[tuple[RestorePoint, bytes]],
    others: Sequence[bytes],
    tolerated: AbstractSet[str] = frozenset(),
) -> None:
    """Known points are exact, a point that nobody was told of holds one of `others`, and life goes on.

    `tolerated` objects may be missing until the next backup puts them.
    """
    repository = open_repository(storage, PASSPHRASE)
    points = {point.id: point for point in repository.points()}
    for point, expected in known:
        assert restored(repository, points.pop(point.id)) == expected
    for point in points.values():
        assert restored(repository, point) in others
    assert {damage.object for damage in check(repository).damage} <= tolerated
    following = back_up_disks(repository, [whole(THIRD)]).point
    increment = back_up_disks(repository, [changed(SECOND, THIRD)], parent=following).point
    stranger = reopened(repository)
    assert restored(stranger, following) == THIRD
    assert restored(stranger, increment) == SECOND
    assert [restored(stranger, point) for point, _ in known] == [expected for _, expected in known]
    report = check(repository)
    assert report.ok, report.damage


# --- at every put of the storage port ---------------------------------------------------------------------------------


def cut_at_every_put(
    fate: str, begin: Callable[[FaultyStorage], Callable[[], object]]
) -> Iterator[tuple[str, MemoryStorage]]:
    """(name of the put in which the power went, what is left) for each put of the work that `begin` prepares."""
    for number in count(1):
        memory = MemoryStorage()
        storage = FaultyStorage(memory)
        work = begin(storage)
        done_before = len(storage.puts)
        try:
            with storage.at_put(number, FATES[fate]):
                work()
        except PowerCut:
            yield storage.puts[done_before + number - 1], memory
        except AssertionError:  # the work has fewer puts than that: every one of them has been cut
            assert number > 3
            return
        else:
            pytest.fail("a power cut was swallowed")


@pytest.mark.parametrize("fate", sorted(FATES))
def test_a_cut_in_any_put_of_a_creation_leaves_no_repository_or_a_whole_one(fate: str) -> None:
    outcomes = []
    for _, left in cut_at_every_put(fate, lambda storage: lambda: new_repository(storage, SMALL_CUT)):
        if not left.objects.keys() & {"config", "config.2"}:
            with pytest.raises(NotFoundError, match="no repository"):
                open_repository(left, PASSPHRASE)
            outcomes.append("none")
            continue
        outcomes.append("whole")
        assert open_repository(left, PASSPHRASE).points() == []
        require_all_well(left, [], [], tolerated={"config"})
    assert outcomes == {"kept": [*3 * ["none"], "whole", "whole"]}.get(fate, [*4 * ["none"], "whole"])


@pytest.mark.parametrize("fate", sorted(FATES))
def test_a_cut_in_any_put_of_a_full_backup_loses_nothing(fate: str) -> None:
    def begin(storage: FaultyStorage) -> Callable[[], object]:
        repository = new_repository(storage, SMALL_CUT)
        return lambda: first_backup(repository)

    cut = []
    for name, left in cut_at_every_put(fate, begin):
        cut.append(name.partition("/")[0])
        committed = len(open_repository(left, PASSPHRASE).points())
        assert committed == (name.startswith("log/") and fate == "kept")
        require_all_well(left, [], [FIRST])
    assert {"packs", "index", "log"} == set(cut)
    assert cut.index("index") < len(cut) - 2, "no index object in the middle of the work was cut"


@pytest.mark.parametrize("fate", sorted(FATES))
def test_a_cut_in_any_put_of_an_incremental_backup_loses_nothing(fate: str) -> None:
    made: list[RestorePoint] = []

    def begin(storage: FaultyStorage) -> Callable[[], object]:
        repository = new_repository(storage, SMALL_CUT)
        made.append(first_backup(repository))
        return lambda: second_backup(repository, made[-1])

    cut = []
    for name, left in cut_at_every_put(fate, begin):
        cut.append(name.partition("/")[0])
        require_all_well(left, [(made[-1], FIRST)], [SECOND])
    assert {"packs", "index", "log"} == set(cut)


# --- at every system call of a local directory ------------------------------------------------------------------------


class Told:
    """What was reported, and where in the trace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.points: list[tuple[int, RestorePoint, bytes]] = []

    def add(self, point: RestorePoint, expected: bytes) -> None:
        self.points.append((len(self._kernel.trace), point, expected))

    def before(self, step: int) -> list[tuple[RestorePoint, bytes]]:
        return [(point, expected) for told_at, point, expected in self.points if told_at <= step]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event], Told, int]:
    """(root, trace of a creation, a full and an incremental backup, what was told, steps of the creation)."""
    root = tmp_path_factory.mktemp("traced") / "repository"
    with watched() as kernel, pytest.MonkeyPatch.context() as patch:
        small_packs_of_one_lane(patch)
        told = Told(kernel)
        storage = LocalDirectory.create(root)
        kernel.trace.clear()
        repository = new_repository(storage, SMALL_CUT)
        created = len(kernel.trace)
        point = first_backup(repository)
        told.add(point, FIRST)
        told.add(second_backup(repository, point), SECOND)
    return root, kernel.trace, told, created


@pytest.mark.parametrize("fate", ["lost", "torn", "kept"])
def test_a_cut_after_any_call_to_the_system_loses_nothing_that_was_reported(
    traced: tuple[Path, list[Event], Told, int], tmp_path: Path, fate: Fate
) -> None:
    root, trace, told, created = traced
    medium = Medium(root)
    seen: set[object] = set()
    for step, event in enumerate(trace, start=1):
        medium.apply(event)
        left = medium.surviving(fate)
        state = frozenset(left.items()), len(told.before(step))
        if state in seen:
            continue
        seen.add(state)
        if not left.keys() & {Path("config"), Path("config.2")}:
            assert step <= created, "the repository was reported as created"
            continue
        tolerated = {"config"} if step <= created else set()
        place = tmp_path / f"{step}"
        in_place = len(seen) % 6 == 0
        storage = on_disk(left, place) if in_place else in_memory(left)
        require_all_well(storage, told.before(step), [FIRST, SECOND], tolerated)
        assert not in_place or list((place / "tmp").iterdir()) == [], "drafts of the dead are left"
    assert len(seen) > 30


def on_disk(left: Mapping[Path, bytes | None], place: Path) -> Storage:
    lay_out(left, place)
    return LocalDirectory.open(place)


def in_memory(left: Mapping[Path, bytes | None]) -> Storage:
    """The same objects, for speed; drafts are none of a memory's business."""
    storage = MemoryStorage()
    files = {str(path): found for path, found in left.items() if found is not None and path.parts[0] != "tmp"}
    storage.objects.update(files)
    return storage


def test_what_another_writer_builds_on_survives_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that uses an index object which its author has named but not yet synced."""
    monkeypatch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 64)
    root = tmp_path / "repository"
    with watched() as kernel:
        storage = LocalDirectory.create(root)
        kernel.trace.clear()
        repository = new_repository(storage)
        told = Told(kernel)

        def meanwhile(path: Path) -> None:
            if path == root / "index":
                assert any(event.kind == "link" and event.path.parent == path for event in kernel.trace)
                kernel.before.clear()
                told.add(first_backup(reopened(repository)), FIRST)
                assert len(list((root / "index").iterdir())) == 1, "it was to find all it needs"

        kernel.before["fsync"] = meanwhile
        first_backup(repository)
    ((step, point, expected),) = told.points
    medium = Medium(root)
    for event in kernel.trace[:step]:
        medium.apply(event)
    require_all_well(in_memory(medium.surviving("lost")), [(point, expected)], [])


def test_the_medium_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The oracle itself: without its syncs, a put is lost, or torn."""
    root = tmp_path / "repository"
    with watched() as kernel:
        storage = LocalDirectory.create(root)
        kernel.trace.clear()
        storage.put("config", [b"content"])
    without = [event for event in kernel.trace if event.kind != "sync"]
    medium = Medium(root)
    for event in without:
        medium.apply(event)
    assert medium.surviving("lost") == {}
    assert medium.surviving("torn")[Path("config")] == b"con"
    assert medium.surviving("kept")[Path("config")] == b"content"
    whole_medium = Medium(root)
    for event in kernel.trace:
        whole_medium.apply(event)
    assert whole_medium.surviving("lost") == {Path("tmp"): None, Path("config"): b"content"}
    assert Stored("config", 7) in list(storage.list(""))
