"""A repository with objects missing gives back everything that does not need them, and says clearly what does."""

import random
from dataclasses import dataclass

import pytest

from holdfast.core.errors import DamagedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import CheckScope, MemoryStorage, Repository, open_for_reading, open_repository
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository, restored

REGION = SMALL_CUT.region_bytes


@dataclass(frozen=True)
class Fleet:
    """Three machines with two points each; the second shares most of its blocks with the first."""

    objects: dict[str, bytes]
    contents: dict[str, bytes]
    needed: dict[str, set[str]]
    """Which objects each point needs to be read, beside the log."""
    entries: dict[str, str]
    """Which entry made each point."""


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        storage = MemoryStorage()
        repository = new_repository(storage, SMALL_CUT)
        contents, points, entries = {}, [], {}
        for number in range(3):
            first = random.Random(number).randbytes(3 * REGION)
            point = back_up_disks(repository, [whole(first)], machine=f"web{number}", definition=b"<domain/>").point
            second = first[:REGION] + random.Random(10 + number).randbytes(REGION) + first[2 * REGION :]
            disk = changed(second, first)
            for content, made in (
                (first, point),
                (second, back_up_disks(repository, [disk], parent=point, machine=f"web{number}").point),
            ):
                contents[made.id] = content
                points.append(made)
    for made in points:
        entries[made.id] = f"log/{repository.state().standings[made.id].number:012}"
    needed = {made.id: packs_of(repository, made) for made in points}
    return Fleet(dict(storage.objects), contents, needed, entries)


def packs_of(repository: Repository, point: RestorePoint) -> set[str]:
    """The packs that hold what a point's disk reaches, by the index alone."""
    reader = repository.open_disk(point.disks[0].root)
    ids = [bytes.fromhex(point.disks[0].root), reader.root.top]
    assert reader.root.depth == 1, "one page over the leaves"
    for _, leaf in reader.leaves():
        ids += [leaf, *(piece.id for piece in reader.pieces(leaf))]
    index = repository.records.index
    return {index.packs[index.copies(each)[0].pack].object for each in ids if each}


def without(fleet: Fleet, name: str) -> MemoryStorage:
    storage = MemoryStorage()
    storage.objects = {each: blob for each, blob in fleet.objects.items() if each != name}
    return storage


def names(fleet: Fleet, prefix: str) -> list[str]:
    return sorted(name for name in fleet.objects if name.startswith(prefix))


def restored_or_error(repository: Repository, point_id: str) -> bytes | HoldfastError:
    points = {point.id: point for point in repository.points()}
    try:
        return restored(repository, points[point_id])
    except HoldfastError as error:
        return error


def test_each_pack_in_turn_costs_the_points_that_need_it_and_no_other(fleet: Fleet) -> None:
    lost_somewhere = set()
    for name in names(fleet, "packs/"):
        repository = open_repository(without(fleet, name), PASSPHRASE)
        for point_id, content in fleet.contents.items():
            outcome = restored_or_error(repository, point_id)
            if name in fleet.needed[point_id]:
                assert isinstance(outcome, DamagedError), f"{point_id} came back without {name}"
                assert "disk vda" in outcome.message
                assert outcome.hint
                lost_somewhere.add(point_id)
            else:
                assert outcome == content, f"{point_id} does not need {name}"
    assert lost_somewhere == set(fleet.contents)


@pytest.mark.parametrize("level", ["structure", "keyless", "full"])
def test_the_check_names_exactly_the_points_that_need_a_lost_pack(fleet: Fleet, level: str) -> None:
    for name in names(fleet, "packs/"):
        repository = open_repository(without(fleet, name), PASSPHRASE)
        report = repository.check(Silence(), CheckScope(level=level))  # type: ignore[arg-type]
        hurt = {damage.point for damage in report.damage if damage.disk == "vda"}
        assert hurt == {point for point, needed in fleet.needed.items() if name in needed}


@pytest.mark.parametrize("prefix", ["index/", "config"])
def test_each_object_that_has_a_substitute_costs_nothing(fleet: Fleet, prefix: str) -> None:
    for name in names(fleet, prefix):
        repository = open_repository(without(fleet, name), PASSPHRASE)
        for point_id, content in fleet.contents.items():
            assert restored_or_error(repository, point_id) == content


def test_an_entry_that_is_lost_costs_the_point_it_made_and_forbids_to_write(fleet: Fleet) -> None:
    for name in names(fleet, "log/")[:-1]:
        storage = without(fleet, name)
        with pytest.raises(DamagedError, match=name):
            open_repository(storage, PASSPHRASE)
        said: list[str] = []
        repository = open_for_reading(storage, PASSPHRASE, said.append)
        assert name in "".join(said)
        left = {point for point, entry in fleet.entries.items() if entry != name}
        assert {point.id for point in repository.points()} == left
        for point_id in left:
            assert restored_or_error(repository, point_id) == fleet.contents[point_id]
        before = dict(storage.objects)
        with pytest.raises(DamagedError, match=name):
            back_up_disks(repository, [whole(b"x" * 5000)])
        assert [each for each in storage.objects if each.startswith("log/")] == [
            each for each in before if each.startswith("log/")
        ]


def test_a_damaged_and_an_exchanged_entry_are_gaps_like_lost_ones(fleet: Fleet) -> None:
    inner = names(fleet, "log/")[2:-1]
    for name, content in ((inner[0], b"garbage"), (inner[0], fleet.objects[inner[1]])):
        storage = without(fleet, name)
        storage.objects[name] = content
        repository = open_for_reading(storage, PASSPHRASE, lambda _: None)
        left = {point for point, entry in fleet.entries.items() if entry != name}
        assert {point.id for point in repository.points()} == left


def test_a_whole_log_is_read_for_reading_without_a_word(fleet: Fleet) -> None:
    said: list[str] = []
    repository = open_for_reading(without(fleet, "nothing"), PASSPHRASE, said.append)
    assert not said
    assert {point.id for point in repository.points()} == set(fleet.contents)


def test_without_a_key_slot_the_error_says_so(fleet: Fleet) -> None:
    for name in names(fleet, "keys/"):
        storage = without(fleet, name)
        storage.objects = {each: blob for each, blob in storage.objects.items() if not each.startswith("keys/")}
        with pytest.raises(DamagedError, match="no key slots"):
            open_for_reading(storage, PASSPHRASE, lambda _: None)
