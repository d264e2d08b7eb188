"""A change list that lies is caught: each increment reads another share of what was told not to have changed."""

import random
from collections import Counter

import pytest

from holdfast.core.extents import Extent
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import BackupOutcome, Care, back_up
from holdfast.repository import MemoryStorage, Repository
from tests.support.disks import CapturedModel, ModelCapture, changed, whole
from tests.support.repositories import SMALL_CUT, new_repository, restored

ROUNDS = 30
REGION = SMALL_CUT.region_bytes
REGIONS = 75
CONTENT = random.Random(5).randbytes(REGION)[:-100]
LARGE = b"".join(bytes([number]) * REGION for number in range(1, REGIONS)) + CONTENT


class Alarms(Silence):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str) -> None:
        self.said.append(text)


def increment(repository: Repository, parent: RestorePoint, disk: CapturedModel) -> tuple[BackupOutcome, list[str]]:
    alarms = Alarms()
    outcome = back_up(ModelCapture(disks=[disk]), repository, parent=parent, progress=alarms)
    return outcome, alarms.said


def first(repository: Repository, content: bytes = LARGE) -> RestorePoint:
    return back_up(ModelCapture(disks=[whole(content)]), repository, parent=None, progress=Silence()).point


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStorage(), SMALL_CUT)


def test_thirty_increments_read_every_region_exactly_once_and_count_that_apart(repository: Repository) -> None:
    read: Counter[int] = Counter()
    point = first(repository)
    proved = 0
    for _ in range(ROUNDS):
        disk = changed(LARGE, LARGE, fault=lambda offset, _: read.update([offset // REGION]))
        outcome, alarms = increment(repository, point, disk)
        assert (outcome.read_bytes, outcome.sent_bytes, alarms) == (0, 0, [])
        assert 2 * REGION <= outcome.proved_bytes <= 3 * REGION, "the shares are even"
        assert outcome.point.disks[0].root == point.disks[0].root
        proved += outcome.proved_bytes
        point = outcome.point
    assert read == Counter(range(REGIONS))
    assert proved == len(LARGE)


@pytest.mark.parametrize("region", [0, 17, 31, REGIONS - 1])
@pytest.mark.parametrize("lie", ["other bytes", "zeros", "data where zeros were"])
def test_a_change_that_was_not_told_is_caught_within_thirty_increments(
    repository: Repository, region: int, lie: str
) -> None:
    before, after = bytearray(LARGE), bytearray(LARGE)
    at = region * REGION + 8192
    after[at : at + 4096] = bytes(4096) if lie == "zeros" else b"x" * 4096
    if lie == "data where zeros were":
        before[at - 4096 : at + 8192] = bytes(12288)
        after[at - 4096 : at] = after[at + 4096 : at + 8192] = bytes(4096)
    point = first(repository, bytes(before))
    liar = CapturedModel(name="vda", content=bytes(after), held=[Extent(0, len(after))], changed=[])
    for _ in range(region % ROUNDS):
        outcome, alarms = increment(repository, point, liar)
        point = outcome.point
        assert not alarms
        assert restored(repository, point) == bytes(before)
    outcome, (alarm,) = increment(repository, point, liar)
    point = outcome.point
    assert "disk vda" in alarm
    assert f"bytes {region * REGION} to {min((region + 1) * REGION, len(LARGE))}" in alarm
    assert restored(repository, point) == bytes(after)
    (disk,) = point.disks
    assert (disk.capture, disk.reason, disk.proof) == ("full", "not all of its changes were told", 0)
    assert outcome.read_bytes >= len(LARGE)


def test_a_lie_beside_a_change_that_was_told_is_caught_in_the_same_region(repository: Repository) -> None:
    content = random.Random(6).randbytes(REGION)
    point = first(repository, content)
    after = b"t" * 4096 + content[4096:-4096] + b"l" * 4096
    told = CapturedModel(name="vda", content=after, held=[Extent(0, REGION)], changed=[Extent(0, 4096)])
    outcome, alarms = increment(repository, point, told)
    assert len(alarms) == 1
    assert restored(repository, outcome.point) == after


def test_changes_that_were_told_are_no_alarm_and_move_the_turn_on(repository: Repository) -> None:
    content = random.Random(7).randbytes(3 * REGION)
    point = first(repository, content)
    for number in range(5):
        edited = bytearray(content)
        at = random.Random(number).randrange(len(content) - 5000)
        edited[at : at + 5000] = bytes([number]) * 5000
        outcome, alarms = increment(repository, point, changed(bytes(edited), content))
        assert not alarms
        assert outcome.point.disks[0].proof == number + 1
        assert restored(repository, outcome.point) == bytes(edited)
        content, point = bytes(edited), outcome.point


def test_nothing_is_read_for_proof_where_that_is_not_wanted(repository: Repository) -> None:
    point = first(repository)
    capture = ModelCapture(disks=[changed(LARGE, LARGE)])
    outcome = back_up(capture, repository, parent=point, care=Care(proof_rounds=0), progress=Silence())
    assert outcome.proved_bytes == 0
