"""Each level of a check: what it reads, what it finds, and how it goes on where another stopped."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import NotFoundError
from holdfast.core.progress import Silence
from holdfast.repository import CheckReport, CheckScope, Journal, MemoryStorage, check_without_key, open_repository
from holdfast.repository.check.report import Level
from holdfast.repository.index_objects import encode_index_object
from holdfast.repository.packs import DATA
from holdfast.repository.storage.port import Storage, StorageError, Stored
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository
from tests.support.storage import FaultyStorage, RecordingStorage

POINTS = 6


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    """Six machines, each with one pack of data of its own."""
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    storage = MemoryStorage()
    repository = new_repository(storage, SMALL_CUT)
    for number in range(POINTS):
        content = random.Random(number).randbytes(3 * SMALL_CUT.region_bytes)
        back_up_disks(repository, [whole(content)], machine=f"web{number}")
    return storage


def check(storage: Storage, level: Level = "full", journal: Journal | None = None, **scope: object) -> CheckReport:
    return open_repository(storage, PASSPHRASE).check(Silence(), CheckScope(level=level, **scope), journal)


def check_by_name(storage: Storage, journal: Journal | None = None) -> CheckReport:
    return check_without_key(storage, CheckScope(level="keyless"), journal or Journal(), Silence())


def data_packs(storage: MemoryStorage) -> list[str]:
    found = [name for name, blob in storage.objects.items() if name.startswith("packs/") and blob[28] == DATA]
    assert len(found) == POINTS
    return found


def flip(storage: MemoryStorage, name: str, at: int) -> None:
    blob = bytearray(storage.objects[name])
    blob[at] ^= 1
    storage.objects[name] = bytes(blob)


def reached(report: CheckReport) -> set[tuple[str | None, int | None, int | None]]:
    return {(each.machine, each.offset, each.length) for each in report.damage if each.point}


def test_damage_to_a_pack_that_two_index_objects_list_is_found(storage: MemoryStorage) -> None:
    """As a collection leaves it that was killed before it removed what it had replaced."""
    repository = open_repository(storage, PASSPHRASE)
    repository.records.load_index()
    name, blob = encode_index_object(repository.keys, 0, list(repository.records.index.packs))
    storage.objects[name] = blob
    for name in data_packs(storage):
        flip(storage, name, len(storage.objects[name]) // 2)
    assert {machine for machine, _, _ in reached(check(storage))} == {f"web{number}" for number in range(POINTS)}


# --- what each level reads and finds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["structure", "keyless", "sample", "full"])
def test_a_whole_repository_is_whole_at_every_level_and_the_report_says_what_that_proves(
    storage: MemoryStorage, level: Level
) -> None:
    report = check(storage, level)
    assert report.ok
    assert (report.level, report.damage) == (level, ())
    assert report.proves
    assert report.objects == len(storage.objects)


def test_structure_reads_no_data_at_all(storage: MemoryStorage) -> None:
    recording = RecordingStorage(storage)
    check(recording, "structure")
    data = set(data_packs(storage))
    assert not data & {each.name for each in recording.operations if each.kind in {"get", "read"}}


@pytest.mark.parametrize("level", ["structure", "keyless", "sample", "full"])
def test_a_lost_pack_is_found_at_every_level_with_what_it_hurts(storage: MemoryStorage, level: Level) -> None:
    lost = data_packs(storage)[2]
    del storage.objects[lost]
    report = check(storage, level)
    assert reached(report) == {("web2", 0, 3 * SMALL_CUT.region_bytes)}
    assert {damage.object for damage in report.damage} == {lost}


@pytest.mark.parametrize("level", ["structure", "keyless", "sample", "full"])
def test_a_pack_cut_short_hurts_what_lay_behind_its_new_end(storage: MemoryStorage, level: Level) -> None:
    name = data_packs(storage)[2]
    storage.objects[name] = storage.objects[name][: len(storage.objects[name]) // 2]
    ((machine, offset, length),) = reached(check(storage, level))
    assert machine == "web2"
    assert offset is not None
    assert length is not None
    assert offset > 0
    assert offset + length == 3 * SMALL_CUT.region_bytes


def test_only_structure_overlooks_a_byte_that_changed_inside_data(storage: MemoryStorage) -> None:
    name = data_packs(storage)[2]
    flip(storage, name, len(storage.objects[name]) // 2)
    assert check(storage, "structure").ok
    for level in ("keyless", "full"):
        assert {machine for machine, _, _ in reached(check(storage, level))} == {"web2"}
    assert reached(check(storage, "keyless")) == reached(check(storage, "full"))
    assert {damage.object for damage in check_by_name(storage).damage} == {name}


def test_without_a_key_a_changed_byte_anywhere_is_found(storage: MemoryStorage) -> None:
    spots = random.Random(1)
    assert check_by_name(storage).ok
    for name, blob in list(storage.objects.items()):
        flip(storage, name, spots.randrange(len(blob)))
        assert {damage.object for damage in check_by_name(storage).damage} == {name}
        storage.objects[name] = blob


def test_without_a_key_a_lost_and_an_exchanged_entry_are_found(storage: MemoryStorage) -> None:
    third, fourth = (storage.objects[f"log/{number:012}"] for number in (3, 4))
    del storage.objects["log/000000000003"]
    assert {damage.object for damage in check_by_name(storage).damage} == {"log/000000000003"}
    storage.objects.update({"log/000000000003": fourth, "log/000000000004": third})
    assert "log/000000000003" in {damage.object for damage in check_by_name(storage).damage}


def test_without_a_key_no_object_of_absurd_size_is_read(storage: MemoryStorage) -> None:
    class Absurd(MemoryStorage):
        def list(self, prefix: str) -> Iterator[Stored]:
            return (each._replace(size=1 << 50) if each.name == name else each for each in super().list(prefix))

        def read_into(self, asked: str, offset: int, buffer: memoryview) -> None:
            assert asked != name
            super().read_into(asked, offset, buffer)

    name = data_packs(storage)[0]
    absurd = Absurd()
    absurd.objects = storage.objects
    assert {damage.object for damage in check_by_name(absurd).damage} == {name}


def test_where_no_repository_is_there_is_nothing_to_check() -> None:
    with pytest.raises(NotFoundError):
        check_by_name(MemoryStorage())


# --- a share, and going on --------------------------------------------------------------------------------------------


def packs_read(storage: RecordingStorage) -> set[str]:
    return {each.name for each in storage.operations if each.kind == "read" and each.name.startswith("packs/")}


def test_samples_come_round_to_every_pack(storage: MemoryStorage, tmp_path: Path) -> None:
    packs = {name for name in storage.objects if name.startswith("packs/")}
    for number, name in enumerate(sorted(packs)):
        Journal(tmp_path / "checked").note(name.rpartition("/")[2], now=1000 + number)
    read = 0
    for _ in range(4):
        report = check(storage, "sample", Journal(tmp_path / "checked"), share=0.3)
        read += report.packs_read
        assert 0 < report.packs_read < len(packs)
    journal = Journal(tmp_path / "checked")
    assert read >= len(packs)
    assert all(journal.proved_at(name.rpartition("/")[2]) > 1000 + len(packs) for name in packs)


class PressedCtrlCError(Exception):
    """Somebody pressed Ctrl-C."""


class Impatient(Silence):
    """Interrupts after some bytes of packs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        if done_bytes > self.after:
            raise PressedCtrlCError


@pytest.mark.parametrize("level", ["keyless", "full"])
def test_an_interrupted_check_is_resumed_where_it_stopped(storage: MemoryStorage, tmp_path: Path, level: Level) -> None:
    packs = [name for name in storage.objects if name.startswith("packs/")]
    total = sum(len(storage.objects[name]) for name in packs)
    scope = CheckScope(level=level)
    with pytest.raises(PressedCtrlCError):
        open_repository(storage, PASSPHRASE).check(Impatient(total // 2), scope, Journal(tmp_path / "checked"))
    resumed = check(storage, level, Journal(tmp_path / "checked"), resume=True)
    assert resumed.ok
    assert 0 < resumed.packs_resumed < len(packs)
    assert resumed.packs_read + resumed.packs_resumed == len(packs)
    again = check(storage, level, Journal(tmp_path / "checked"), resume=True)
    assert (again.packs_read, again.packs_resumed) == (len(packs), 0), "a check that ended was resumed"


def test_without_resume_everything_is_read(storage: MemoryStorage, tmp_path: Path) -> None:
    packs = [name for name in storage.objects if name.startswith("packs/")]
    with pytest.raises(PressedCtrlCError):
        open_repository(storage, PASSPHRASE).check(Impatient(0), CheckScope(), Journal(tmp_path / "checked"))
    report = check(storage, "full", Journal(tmp_path / "checked"))
    assert (report.packs_read, report.packs_resumed) == (len(packs), 0)


def test_a_proof_before_the_interrupted_check_began_does_not_count_however_wrong_the_clock_was(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    check(storage, "full", Journal(tmp_path / "checked"))
    journal = Journal(tmp_path / "checked")
    journal.begin(now=1)
    flip(storage, data_packs(storage)[2], 500)
    resumed = check(storage, "full", Journal(tmp_path / "checked"), resume=True)
    assert (resumed.ok, resumed.packs_resumed) == (False, 0)


def test_damage_is_never_written_down_as_proved(storage: MemoryStorage, tmp_path: Path) -> None:
    name = data_packs(storage)[0]
    flip(storage, name, 500)
    check(storage, "full", Journal(tmp_path / "checked"))
    assert Journal(tmp_path / "checked").proved_at(name.rpartition("/")[2]) == 0


# --- marks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def marked(storage: MemoryStorage) -> str:
    """The pack of web2's data, rotten and marked."""
    name = data_packs(storage)[2]
    flip(storage, name, len(storage.objects[name]) // 2)
    repository = open_repository(storage, PASSPHRASE)
    repository.mark(repository.check(Silence()).marks)
    return name


def test_marks_are_taken_back_of_a_pack_whose_records_were_read(storage: MemoryStorage, marked: str) -> None:
    flip(storage, marked, len(storage.objects[marked]) // 2)
    assert check(storage).marks.repaired.keys() == {marked.rpartition("/")[2]}


def test_marks_stand_while_a_pack_that_no_index_object_lists_cannot_be_read(
    storage: MemoryStorage, marked: str
) -> None:
    for name in [name for name in storage.objects if name.startswith("index/")]:
        del storage.objects[name]
    faulty = FaultyStorage(storage)
    faulty.unreadable[marked] = StorageError("input/output error")
    assert not check(faulty).marks


def test_marks_stand_of_records_that_were_not_compared_with_their_ids(storage: MemoryStorage, marked: str) -> None:
    flip(storage, marked, len(storage.objects[marked]) // 2)
    for level in ("structure", "keyless"):
        assert not check(storage, level).marks
    assert not check(storage, "sample", share=0).marks


def test_what_is_marked_is_damage_until_it_was_read(storage: MemoryStorage, marked: str) -> None:
    for level in ("structure", "full"):
        report = check(storage, level)
        assert {damage.object for damage in report.damage} == {marked}
        assert {machine for machine, _, _ in reached(report)} == {"web2"}
    flip(storage, marked, len(storage.objects[marked]) // 2)
    assert not check(storage, "structure").ok
    assert check(storage).ok


def test_a_resumed_check_reads_what_is_marked(storage: MemoryStorage, marked: str, tmp_path: Path) -> None:
    flip(storage, marked, len(storage.objects[marked]) // 2)
    journal = Journal(tmp_path / "checked")
    journal.begin(now=1)
    for name in data_packs(storage):
        journal.note(name.rpartition("/")[2], now=2)
    report = check(storage, "full", Journal(tmp_path / "checked"), resume=True)
    assert (report.ok, report.packs_resumed) == (True, POINTS - 1)
    assert report.marks.repaired


# --- the journal ------------------------------------------------------------------------------------------------------


def test_a_journal_outlives_a_torn_row_and_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "checked"
    journal = Journal(file)
    journal.begin(5)
    journal.note("ab" * 32, 7)
    with file.open("ab") as torn:
        torn.write(b"torn")
    after = Journal(file)
    assert after.proved_at("ab" * 32) == 7
    assert after.is_proved_by_unfinished("ab" * 32)
    after.note("cd" * 32, 8)
    after.end(9)
    last = Journal(file)
    assert (last.proved_at("ab" * 32), last.proved_at("cd" * 32)) == (7, 8)
    assert not last.is_proved_by_unfinished("ab" * 32)
    nowhere = Journal(Path("/proc/nowhere/checked"))
    nowhere.note("ab" * 32, 7)
    assert nowhere.proved_at("ab" * 32) == 7


def test_a_keyless_check_names_entries_that_are_missing_however_many_somebody_makes_believe(
    storage: MemoryStorage,
) -> None:
    entries = sorted(name for name in storage.objects if name.startswith("log/"))
    gone, follower = entries[2], entries[3]
    del storage.objects[gone]
    found = {(damage.object, damage.kind) for damage in check_by_name(storage).damage}
    assert found == {(gone, "missing")}
    storage.objects["log/999999999999"] = storage.objects["log/000000000000"] = storage.objects[follower]
    kinds = [(damage.object, damage.kind) for damage in check_by_name(storage).damage]
    assert (gone, "missing") in kinds
    assert len(kinds) <= 103
    storage.objects[gone] = storage.objects[follower]
    assert ("object", follower) in {(damage.kind, damage.object) for damage in check_by_name(storage).damage}


@pytest.mark.parametrize("reads_at_once", [1, 4])
@pytest.mark.parametrize("level", ["keyless", "full"])
def test_distance_changes_nothing_that_a_check_finds(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, level: Level, reads_at_once: int
) -> None:
    monkeypatch.setattr(MemoryStorage, "reads_at_once", reads_at_once)
    monkeypatch.setattr(MemoryStorage, "puts_at_once", reads_at_once)
    assert check(storage, level).ok
    packs = sorted(name for name in storage.objects if name.startswith("packs/"))
    hurt = [packs[0], max(name for name in storage.objects if name.startswith("log/"))]
    for name in hurt:
        blob = bytearray(storage.objects[name])
        blob[len(blob) // 3] ^= 4
        storage.objects[name] = bytes(blob)
    assert {damage.object for damage in check_by_name(storage).damage} == set(hurt)
