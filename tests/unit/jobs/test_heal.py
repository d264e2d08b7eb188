"""What a repository has lost comes back from another that has the same points, whether it names alike or not."""

import random

import pytest

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.jobs.heal import HealReport, heal_from
from holdfast.mover import Care, copy_point
from holdfast.repository import MemoryStorage, create_repository
from tests.support.disks import changed, whole
from tests.support.repositories import CHEAP, PASSPHRASE, SMALL_CUT, back_up_disks, new_repository, reopened, restored

REGION = SMALL_CUT.region_bytes
FIRST = random.Random(1).randbytes(40 * REGION)
SECOND = FIRST[:REGION] + random.Random(2).randbytes(REGION) + FIRST[2 * REGION :]


class Pair:
    """A repository with two points of one machine, and another that they were copied to."""

    def __init__(self, *, alike: bool) -> None:
        self.storage = MemoryStorage()
        self.mine = new_repository(self.storage, SMALL_CUT)
        old = back_up_disks(self.mine, [whole(FIRST)], definition=b"<domain/>").point
        new = back_up_disks(self.mine, [changed(SECOND, FIRST)], parent=old, definition=b"<domain/>").point
        self.points = {old.id: FIRST, new.id: SECOND}
        like = self.mine if alike else None
        self.copy = create_repository(MemoryStorage(), PASSPHRASE, cost=CHEAP, cut=SMALL_CUT, like=like)
        self.send(old)
        self.send(new)

    def send(self, point: RestorePoint) -> None:
        copy_point(self.mine, self.copy, point, built_on=None, care=Care(), progress=Silence())

    def packs(self) -> list[str]:
        return sorted(name for name in self.storage.objects if name.startswith("packs/"))

    def heal(self) -> HealReport:
        target = reopened(self.mine)
        return heal_from(reopened(self.copy), target, target.check(Silence()), Silence())

    def require_whole(self) -> None:
        mine = reopened(self.mine)
        for point in mine.points():
            assert restored(mine, point) == self.points[point.id]
            assert mine.read_blob(point.definition.xml or "") == b"<domain/>"
        assert not {damage.point for damage in mine.check(Silence()).damage} - {None}


@pytest.fixture(params=[True, False], ids=["alike", "not alike"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    return Pair(alike=request.param)


def test_each_lost_pack_is_brought_back_for_every_point(pair: Pair) -> None:
    whole_storage = dict(pair.storage.objects)
    for name in pair.packs():
        pair.storage.objects = {each: blob for each, blob in whole_storage.items() if each != name}
        report = pair.heal()
        assert report.healed
        assert not report.unhealed
        assert set(pair.points) == {point.id for point in reopened(pair.mine).points()}, "healing makes no points"
        pair.require_whole()


def test_a_damaged_record_brings_no_more_than_what_it_held(pair: Pair) -> None:
    name = max(pair.packs(), key=lambda each: len(pair.storage.objects[each]))
    blob = bytearray(pair.storage.objects[name])
    blob[len(blob) // 2 + 500] ^= 1
    pair.storage.objects[name] = bytes(blob)
    report = pair.heal()
    assert 0 < report.sent_bytes <= 256 * 1024
    pair.require_whole()


def test_all_packs_lost_are_brought_back(pair: Pair) -> None:
    for name in pair.packs():
        del pair.storage.objects[name]
    assert len(pair.heal().healed) == 2
    pair.require_whole()


def test_a_point_that_the_other_does_not_have_or_has_lost_too_stays_lost(pair: Pair) -> None:
    content = random.Random(9).randbytes(2 * REGION)
    only_here = back_up_disks(pair.mine, [whole(content)], machine="db").point
    for name in pair.packs():
        del pair.storage.objects[name]
    report = pair.heal()
    assert set(report.unhealed) == {only_here.id}
    assert set(report.healed) == set(pair.points)


def test_a_whole_repository_is_left_as_it_is(pair: Pair) -> None:
    before = set(pair.storage.objects)
    report = pair.heal()
    assert (list(report.healed), list(report.unhealed), report.sent_bytes) == ([], [], 0)
    assert set(pair.storage.objects) == before
