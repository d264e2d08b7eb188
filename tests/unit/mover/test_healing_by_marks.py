"""What a check has marked counts for nothing any more: the next backup of a disk that still holds it stores it anew."""

import random
from collections.abc import Sequence

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import BackupOutcome, Care, back_up
from holdfast.repository import CheckScope, MemoryStorage, Repository
from holdfast.repository.packs import DATA, NODES
from tests.support.disks import CapturedModel, ModelCapture, changed, whole
from tests.support.repositories import SMALL_CUT, new_repository, reopened, restored

REGION = SMALL_CUT.region_bytes
CONTENT = random.Random(5).randbytes(80 * REGION)
NO_PROOF = Care(proof_rounds=0)


class Watched(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    return MemoryStorage()


@pytest.fixture
def repository(storage: MemoryStorage) -> Repository:
    return new_repository(storage, SMALL_CUT)


def packs(storage: MemoryStorage, kind: int) -> list[str]:
    return [name for name, blob in storage.objects.items() if name.startswith("packs/") and blob[28] == kind]


def flip(storage: MemoryStorage, name: str, at: int) -> None:
    blob = bytearray(storage.objects[name])
    blob[at] ^= 1
    storage.objects[name] = bytes(blob)


def mark(repository: Repository, level: str = "full") -> None:
    checking = reopened(repository)
    report = checking.check(Silence(), CheckScope(level=level))  # type: ignore[arg-type]
    checking.mark(report.marks)
    assert not reopened(repository).check(Silence(), CheckScope(level=level)).marks  # type: ignore[arg-type]


def increment(
    repository: Repository, parent: RestorePoint, disk: CapturedModel, said: Sequence[str] = ()
) -> BackupOutcome:
    watched = Watched()
    outcome = back_up(
        ModelCapture(disks=[disk], definition=b"<domain/>"),
        reopened(repository),
        parent=parent,
        care=NO_PROOF,
        progress=watched,
    )
    assert len(watched.said) == len(said)
    assert all(part in whole for part, whole in zip(said, watched.said, strict=True))
    return outcome


def first(repository: Repository) -> RestorePoint:
    capture = ModelCapture(disks=[whole(CONTENT)], definition=b"<domain/>")
    return back_up(capture, repository, parent=None, progress=Silence()).point


def hurt_points(repository: Repository) -> set[str | None]:
    return {damage.point for damage in reopened(repository).check(Silence()).damage} - {None}


def test_one_damaged_record_of_data_is_healed_by_reading_its_regions_and_no_more(
    repository: Repository, storage: MemoryStorage
) -> None:
    old = first(repository)
    (name,) = packs(storage, DATA)
    flip(storage, name, len(storage.objects[name]) // 2 + 500)
    mark(repository)
    outcome = increment(repository, old, changed(CONTENT, CONTENT))
    assert outcome.point.disks[0].capture == "incremental"
    assert 0 < outcome.sent_bytes <= 256 * 1024
    assert outcome.read_bytes <= 6 * REGION, "regions were read that need nothing damaged"
    for point in (old, outcome.point):
        assert restored(reopened(repository), point) == CONTENT
    assert not hurt_points(repository)
    again = increment(repository, outcome.point, changed(CONTENT, CONTENT))
    assert (again.read_bytes, again.sent_bytes) == (0, 0), "what was healed is healed once"


@pytest.mark.parametrize("level", ["structure", "full"])
def test_a_lost_pack_of_data_is_healed_from_an_increment(
    repository: Repository, storage: MemoryStorage, level: str
) -> None:
    old = first(repository)
    (name,) = packs(storage, DATA)
    del storage.objects[name]
    mark(repository, level)
    point = increment(repository, old, changed(CONTENT, CONTENT)).point
    assert restored(reopened(repository), old) == restored(reopened(repository), point) == CONTENT
    assert not hurt_points(repository)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.98])
def test_damaged_nodes_are_healed_for_the_points_that_share_them(
    repository: Repository, storage: MemoryStorage, at: float
) -> None:
    old = first(repository)
    (name,) = packs(storage, NODES)
    flip(storage, name, int(len(storage.objects[name]) * at))
    mark(repository)
    point = increment(repository, old, changed(CONTENT, CONTENT)).point
    assert restored(reopened(repository), point) == CONTENT
    assert reopened(repository).read_blob(point.definition.xml or "") == b"<domain/>"
    assert point.id not in hurt_points(repository)
    if point.disks[0].root == old.disks[0].root:
        assert restored(reopened(repository), old) == CONTENT


def test_what_the_disk_no_longer_holds_stays_lost_and_is_never_said_to_be_there(
    repository: Repository, storage: MemoryStorage
) -> None:
    old = first(repository)
    (name,) = packs(storage, DATA)
    del storage.objects[name]
    mark(repository)
    after = bytes(len(CONTENT))
    point = increment(repository, old, changed(after, CONTENT)).point
    assert restored(reopened(repository), point) == after
    with pytest.raises(DamagedError):
        restored(reopened(repository), old)
    assert hurt_points(repository) == {old.id}


def test_a_second_machine_never_relies_on_a_marked_record(repository: Repository, storage: MemoryStorage) -> None:
    first(repository)
    (name,) = packs(storage, DATA)
    flip(storage, name, len(storage.objects[name]) // 2 + 500)
    mark(repository)
    capture = ModelCapture(machine="db", disks=[whole(CONTENT)])
    outcome = back_up(capture, reopened(repository), parent=None, progress=Silence())
    assert 0 < outcome.sent_bytes <= 256 * 1024
    assert restored(reopened(repository), outcome.point) == CONTENT
    assert not hurt_points(repository)


def test_packs_found_lost_by_a_backup_are_told_and_healed_before_anybody_marks_them(
    repository: Repository, storage: MemoryStorage
) -> None:
    old = first(repository)
    (name,) = packs(storage, DATA)
    del storage.objects[name]
    point = increment(repository, old, changed(CONTENT, CONTENT), said=["has lost packs"]).point
    assert restored(reopened(repository), old) == restored(reopened(repository), point) == CONTENT


def test_a_mark_is_taken_back_once_its_pack_is_brought_back(repository: Repository, storage: MemoryStorage) -> None:
    old = first(repository)
    (name,) = packs(storage, DATA)
    blob = storage.objects.pop(name)
    mark(repository)
    assert reopened(repository).state().damaged
    storage.objects[name] = blob
    mark(repository)
    assert not reopened(repository).state().damaged
    outcome = increment(repository, old, changed(CONTENT, CONTENT))
    assert (outcome.read_bytes, outcome.sent_bytes) == (0, 0)
    assert reopened(repository).check(Silence()).ok


def test_a_check_without_mark_changes_nothing(repository: Repository, storage: MemoryStorage) -> None:
    first(repository)
    (name,) = packs(storage, DATA)
    del storage.objects[name]
    before = set(storage.objects)
    assert reopened(repository).check(Silence()).marks.damaged
    assert set(storage.objects) == before
