"""The index is made anew from the packs: from nothing, from half, after an interruption, never over condemned ones."""

import random

import pytest

from holdfast.core.errors import DamagedError, DeniedError, NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import MemoryStorage, RebuildReport, open_for_rebuild, open_repository
from holdfast.repository.decisions import Condemn
from holdfast.repository.storage.port import Storage
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, restored
from tests.support.storage import FaultyStorage, PowerCut, kept, lost, torn

CONTENTS = [random.Random(number).randbytes(3 * SMALL_CUT.region_bytes) for number in range(4)]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    return MemoryStorage()


@pytest.fixture
def points(storage: MemoryStorage) -> list[RestorePoint]:
    repository = new_repository(storage, SMALL_CUT)
    return [
        back_up_disks(repository, [whole(content)], machine=f"web{number}").point
        for number, content in enumerate(CONTENTS)
    ]


def rebuild(storage: Storage) -> RebuildReport:
    work = open_for_rebuild(storage, PASSPHRASE, Silence())
    return work.carry_out(work.plan())


def names(storage: MemoryStorage, prefix: str) -> list[str]:
    return sorted(name for name in storage.objects if name.startswith(prefix))


def require_whole(storage: Storage, points: list[RestorePoint]) -> None:
    repository = open_repository(storage, PASSPHRASE)
    assert check(repository).ok
    for point, content in zip(points, CONTENTS, strict=True):
        assert restored(repository, point) == content
    again = back_up_disks(repository, [whole(CONTENTS[0])], machine="web0")
    assert again.sent_bytes == 0, "the index does not list what was stored"


@pytest.mark.parametrize("gone", [slice(None), slice(1), slice(1, None)], ids=["all", "one", "all but one"])
def test_lost_index_objects_are_made_anew(
    storage: MemoryStorage, points: list[RestorePoint], gone: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.rebuild.PACKS_PER_INDEX_OBJECT", 3)
    lost_objects = names(storage, "index/")[gone]
    for name in lost_objects:
        del storage.objects[name]
    assert not check(open_repository(storage, PASSPHRASE)).ok
    report = rebuild(storage)
    assert report.packs_listed == 2 * len(lost_objects)
    assert report.index_objects_written == -(-report.packs_listed // 3)
    require_whole(storage, points)
    assert rebuild(storage).packs_listed == 0


def test_damaged_index_objects_are_replaced(storage: MemoryStorage, points: list[RestorePoint]) -> None:
    for name in names(storage, "index/"):
        storage.objects[name] = storage.objects[name][:-1]
    report = rebuild(storage)
    assert (report.packs_listed, report.index_objects_removed) == (8, 4)
    assert not report.unreadable
    require_whole(storage, points)


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(
    storage: MemoryStorage, points: list[RestorePoint]
) -> None:
    first, second, *_ = names(storage, "index/")
    del storage.objects[first]
    storage.objects[second] += b"x"
    before = dict(storage.objects)
    plan = open_for_rebuild(storage, PASSPHRASE, Silence()).plan()
    assert (len(plan.packs), list(plan.damaged)) == (4, [second])
    assert storage.objects == before


@pytest.mark.parametrize("fate", [lost, torn, kept])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_after_a_power_cut_a_rebuild_goes_on_where_it_stopped(
    storage: MemoryStorage, points: list[RestorePoint], fate: object, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.rebuild.PACKS_PER_INDEX_OBJECT", 3)
    for name in names(storage, "index/"):
        storage.objects[name] = b"damaged"
    faulty = FaultyStorage(storage)
    with faulty.at_put(number, fate), pytest.raises(PowerCut):  # type: ignore[arg-type]
        rebuild(faulty)
    done = number - (fate is not kept)
    assert rebuild(storage).packs_listed == 8 - min(8, 3 * done)
    require_whole(storage, points)


def test_condemned_packs_are_not_listed_again(storage: MemoryStorage, points: list[RestorePoint]) -> None:
    repository = open_repository(storage, PASSPHRASE)
    unneeded = [name.rpartition("/")[2] for name in names(storage, "packs/")]
    repository.log.append(lambda _state, _now: Condemn(packs=unneeded[:3]))
    for name in names(storage, "index/"):
        del storage.objects[name]
    assert rebuild(storage).packs_listed == 5


def test_a_pack_that_cannot_say_what_it_holds_is_named(storage: MemoryStorage, points: list[RestorePoint]) -> None:
    for name in names(storage, "index/"):
        del storage.objects[name]
    victim = names(storage, "packs/")[0]
    blob = bytearray(storage.objects[victim])
    blob[70] ^= 1
    blob[-30] ^= 1
    storage.objects[victim] = bytes(blob)
    report = rebuild(storage)
    assert (report.packs_listed, report.unreadable) == (7, (victim,))


@pytest.mark.parametrize("content", [None, b"", b"garbage", bytes(2000)])
@pytest.mark.parametrize("names_lost", [["config"], ["config.2"], ["config", "config.2"]], ids="+".join)
@pytest.mark.parametrize("prefix", ["index/", "nothing"])
def test_the_configuration_is_put_back(
    storage: MemoryStorage, points: list[RestorePoint], names_lost: list[str], content: bytes | None, prefix: str
) -> None:
    genuine = storage.objects["config"]
    for name in [*names_lost, *names(storage, prefix)]:
        del storage.objects[name]
        if content is not None and name in names_lost:
            storage.objects[name] = content
    before = dict(storage.objects)
    plan = open_for_rebuild(storage, PASSPHRASE, Silence()).plan()
    assert list(plan.configuration) == names_lost
    assert storage.objects == before
    assert list(rebuild(storage).configuration) == names_lost
    assert {storage.objects["config"], storage.objects["config.2"]} == {genuine}
    require_whole(storage, points)


def test_a_forged_configuration_is_replaced_by_the_genuine_one(
    storage: MemoryStorage, points: list[RestorePoint]
) -> None:
    genuine = storage.objects["config"]
    elsewhere = MemoryStorage()
    new_repository(elsewhere, SMALL_CUT)
    storage.objects["config"] = elsewhere.objects["config"]
    assert list(rebuild(storage).configuration) == ["config"]
    assert storage.objects["config"] == genuine
    require_whole(storage, points)


def test_a_configuration_that_nothing_repeats_is_an_error(storage: MemoryStorage, points: list[RestorePoint]) -> None:
    del storage.objects["config"], storage.objects["config.2"], storage.objects["log/000000000001"]
    before = dict(storage.objects)
    with pytest.raises(DamagedError, match="log/000000000001"):
        rebuild(storage)
    assert storage.objects == before


def test_where_nothing_is_nothing_is_made() -> None:
    with pytest.raises(NotFoundError):
        rebuild(MemoryStorage())


def test_a_wrong_passphrase_is_told_as_that(storage: MemoryStorage, points: list[RestorePoint]) -> None:
    for lost_names in ([], ["config", "config.2"]):
        for name in lost_names:
            del storage.objects[name]
        with pytest.raises(DeniedError):
            open_for_rebuild(storage, b"wrong", Silence())
