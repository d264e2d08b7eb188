"""One point from one repository into another: exact, sent once, built on what both have."""

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import BackupOutcome, Common, PointThereError, copy_point
from holdfast.mover.copying import _Arrivals
from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.storage.port import Bytes
from tests.support.collections import collect
from tests.support.disks import changed, whole
from tests.support.repositories import (
    ALL_VERIFIED,
    SMALL_CUT,
    back_up_disks,
    check,
    new_repository,
    reopened,
    restored,
)

MIB = 1 << 20


def content(seed: object, size: int = 2 * MIB) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def copied(
    source: Repository, target: Repository, point: RestorePoint, built_on: RestorePoint | None = None
) -> BackupOutcome:
    """Copy as somebody who has just opened both."""
    common = None
    if built_on is not None:
        (there,) = [each for each in target.points() if each.id == built_on.id]
        common = Common(source=built_on, target=there)
    return copy_point(reopened(source), reopened(target), point, built_on=common, care=ALL_VERIFIED, progress=Silence())


@pytest.fixture(params=["alike", "strange"])
def pair(request: pytest.FixtureRequest) -> tuple[Repository, Repository]:
    """Two repositories that name alike, and two that share nothing."""
    source = new_repository(cut=SMALL_CUT)
    return source, new_repository(like=source) if request.param == "alike" else new_repository(cut=SMALL_CUT)


def test_everything_of_a_point_travels(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    disks = [whole(content(1), "vda", mark={"bitmap": "b1"}), whole(b"", "vdb"), whole(bytes(100_000), "vdc")]
    point = back_up_disks(source, disks, definition=b"<domain/>", nvram=bytes(70_000)).point
    outcome = copied(source, target, point)
    (there,) = reopened(target).points()
    assert there == outcome.point
    roots = {disk.name: disk.root for disk in there.disks}
    moved = [replace(disk, root=roots[disk.name]) for disk in point.disks]
    assert there == replace(point, disks=tuple(moved), definition=there.definition)
    assert restored(target, there) == content(1)
    assert restored(target, there, "vdb") == b""
    assert restored(target, there, "vdc") == bytes(100_000)
    assert there.definition.xml is not None
    assert there.definition.nvram is not None
    assert target.read_blob(there.definition.xml) == b"<domain/>"
    assert target.read_blob(there.definition.nvram) == bytes(70_000)
    assert check(target).ok


def test_repositories_that_name_alike_have_equal_trees_and_never_equal_objects() -> None:
    source = new_repository()
    target = new_repository(like=source)
    point = back_up_disks(source, [whole(content(1))], definition=b"<domain/>").point
    there = copied(source, target, point).point
    assert there == point
    packs = [{stored.name for stored in each.storage.list("packs/")} for each in pair_of(source, target)]
    assert not packs[0] & packs[1]


def pair_of(*both: Repository) -> tuple[Repository, ...]:
    return both


def test_an_increment_costs_what_changed(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    before = content(1)
    first = back_up_disks(source, [whole(before)]).point
    now = bytearray(before)
    now[MIB : MIB + 5000] = content(2, 5000)
    second = back_up_disks(source, [changed(bytes(now), before)], parent=first).point
    copied(source, target, first)
    outcome = copied(source, target, second, built_on=first)
    assert outcome.point.parent == first.id
    assert outcome.sent_bytes < 100_000
    assert outcome.stored_bytes < 150_000
    assert restored(target, outcome.point) == bytes(now)
    assert check(target).ok


def test_what_the_target_holds_of_other_machines_is_not_sent(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    shared, own = content("shared"), content("own", 300_000)
    back_up_disks(target, [whole(shared)], machine="other")
    point = back_up_disks(source, [whole(shared + own)]).point
    outcome = copied(source, target, point)
    assert outcome.sent_bytes < 500_000
    assert restored(target, outcome.point) == shared + own


def test_a_point_without_its_parent_stands_alone(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    before, now = content(1), content(1)[:-5000] + content(2, 5000)
    first = back_up_disks(source, [whole(before)]).point
    second = back_up_disks(source, [changed(now, before)], parent=first).point
    there = copied(source, target, second).point
    assert there.parent is None
    assert restored(target, there) == now
    older = copied(source, target, first, built_on=second).point
    assert restored(target, older) == before
    assert check(target).ok


def test_disks_grow_and_shrink_on_the_way(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    contents = [content(1, 700_001), content(1, 700_001) + content(2, 5 * MIB), content(1, 4097), b""]
    built_on = None
    for number, each in enumerate(contents):
        point = back_up_disks(source, [whole(each)]).point
        there = copied(source, target, point, built_on=built_on).point
        assert restored(target, there) == contents[number]
        built_on = point
    assert check(target).ok


def test_a_point_that_is_there_by_now_is_not_made_twice(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    point = back_up_disks(source, [whole(content(1))]).point
    copied(source, target, point)
    with pytest.raises(PointThereError):
        copied(source, target, point)
    assert len(target.points()) == 1


def test_what_the_source_has_lost_ends_the_copy_and_leaves_nothing(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    point = back_up_disks(source, [whole(content(1))]).point
    damage_data(source)
    with pytest.raises(DamagedError, match="no good copy"):
        copied(source, target, point)
    assert target.points() == []
    assert check(target).ok


def test_a_record_that_is_damaged_in_the_source_is_taken_from_another_copy(
    pair: tuple[Repository, Repository],
) -> None:
    source, target = pair
    point = back_up_disks(source, [whole(content(1))]).point
    damage_data(source)
    back_up_disks(reopened(source), [whole(content(1))], care=replace(ALL_VERIFIED, heal=True))
    there = copied(source, target, point).point
    assert restored(target, there) == content(1)
    assert check(target).ok


def damage_data(repository: Repository) -> None:
    """Flip a byte in the middle of the largest pack."""
    objects = repository.storage.objects  # type: ignore[attr-defined]
    name = max((name for name in objects if name.startswith("packs/")), key=lambda name: len(objects[name]))
    blob = bytearray(objects[name])
    blob[len(blob) // 2] ^= 1
    objects[name] = bytes(blob)


def test_a_leaf_that_the_target_holds_says_nothing_of_what_it_names() -> None:
    """An attempt that came to nothing has left the whole tree there, and none of its data."""
    source = new_repository(cut=SMALL_CUT)
    target = new_repository(like=source)
    point = back_up_disks(source, [whole(content(1))]).point
    stored = source.open_disk(point.disks[0].root)
    with closing(target.begin()) as attempt:
        for row in stored.leaves():
            assert row.leaf is not None
            attempt.put_node(stored.read_node(row.leaf))
        assert not attempt.flush()
    there = copied(source, target, point).point
    assert restored(target, there) == content(1)
    assert check(target).ok


@pytest.mark.parametrize("unwanted", ["half", "a little"])
def test_records_of_which_little_is_wanted_are_parted(unwanted: str) -> None:
    source = new_repository()
    target = new_repository(like=source)
    parts = [content(number, 200_000) for number in range(10)]
    point = back_up_disks(source, [whole(b"".join(parts))]).point
    known = parts[::2] if unwanted == "half" else parts[:1]
    back_up_disks(target, [whole(b"".join(known))], machine="other")
    outcome = copied(source, target, point)
    assert outcome.sent_bytes < 2_000_000
    assert outcome.stored_bytes < outcome.sent_bytes * 1.5
    assert restored(target, outcome.point) == b"".join(parts)


def test_what_the_far_end_does_not_give_back_is_not_committed() -> None:
    class Forgetful(MemoryStorage):
        """Says it has stored a pack, and has stored something else."""

        def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
            blob = bytearray(b"".join(parts))
            if name.startswith("packs/") and len(blob) > 500_000:
                blob[len(blob) // 2] ^= 1
            super().put(name, [blob], verify_share=verify_share)

    source = new_repository()
    target = new_repository(Forgetful(), like=source)
    point = back_up_disks(source, [whole(content(1))]).point
    with pytest.raises(DamagedError):
        copied(source, target, point)
    assert target.points() == []


def test_a_copy_with_heal_sends_anew_what_is_damaged_in_the_target(pair: tuple[Repository, Repository]) -> None:
    source, target = pair
    first = back_up_disks(source, [whole(content(1))]).point
    second = back_up_disks(source, [whole(content(1) + content(2, 5000))]).point
    copied(source, target, first)
    damage_data(target)
    assert not check(target).ok
    care = replace(ALL_VERIFIED, heal=True)
    copy_point(reopened(source), reopened(target), second, built_on=None, care=care, progress=Silence())
    expected = {first.id: content(1), second.id: content(1) + content(2, 5000)}
    for point in reopened(target).points():
        assert restored(reopened(target), point) == expected[point.id]


def test_what_a_collection_takes_before_it_is_read_back_is_brought_again(
    pair: tuple[Repository, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    point = back_up_disks(source, [whole(content(1))]).point
    prove = _Arrivals.prove
    condemned = []

    def struck(arrivals: _Arrivals) -> None:
        if not condemned:
            condemned.append(collect(reopened(target)).condemned_packs)
        prove(arrivals)

    monkeypatch.setattr(_Arrivals, "prove", struck)
    there = copied(source, target, point).point
    assert condemned[0] > 0
    assert restored(reopened(target), there) == content(1)
    assert check(target).ok
