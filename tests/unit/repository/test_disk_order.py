"""A collection gathers small packs: then the newest point is read as a fresh one is, and the others come back."""

import random

import numpy as np
import pytest

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import Layout, ReadRun, Repository, plan_reads
from tests.support.collections import collect
from tests.support.disks import changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

_SIZE = 40 * SMALL_CUT.region_bytes


@pytest.fixture(autouse=True)
def every_pack_but_a_full_one_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_GATHERING", 8)


def history(repository: Repository, points: int) -> list[tuple[RestorePoint, bytes]]:
    """Each point overwrites parts of what several of those before it wrote."""
    chance = random.Random(5)
    content = chance.randbytes(_SIZE)
    made = [(back_up_disks(repository, [whole(content)]).point, content)]
    for _ in range(points - 1):
        before = bytearray(content)
        for _ in range(6):
            length = chance.randrange(4096, 40_000)
            at = chance.randrange(_SIZE - length)
            before[at : at + length] = chance.randbytes(length)
        content, old = bytes(before), content
        made.append((back_up_disks(repository, [changed(content, old)], parent=made[-1][0]).point, content))
    return made


def reads(repository: Repository, point: RestorePoint) -> list[ReadRun]:
    """How a point's disk is read."""
    reader = reopened(repository)
    reader.records.load_index()
    layouts = list(reader.open_disk(point.disks[0].root).layouts())
    runs, lost = plan_reads(reader.records.index, Layout.joined(layouts))
    assert not len(lost.ids)
    return runs


def unneeded_share(runs: list[ReadRun]) -> float:
    """What is decompressed in vain, as a share of what is wanted."""
    met = wanted = 0
    for run in runs:
        table = run.pack.table
        for record, rows in run.by_record():
            met += int(table.records["plain"][record])
            wanted += int(table.sizes[np.unique(run.segments[rows.start : rows.stop])].sum())
    return met / wanted - 1


def test_what_only_older_points_need_leaves_the_records_of_the_newest() -> None:
    repository = new_repository(cut=SMALL_CUT)
    made = history(repository, 24)
    newest, _ = made[-1]
    before = reads(repository, newest)
    assert unneeded_share(before) > 0.2, "there is nothing to mend"
    assert collect(repository).condemned_packs > 24
    after = reads(repository, newest)
    assert unneeded_share(after) < 0.1
    assert len(after) < len(before) / 4
    assert check(repository).ok
    for point, content in made:
        assert restored(repository, point) == content


def test_large_packs_of_much_that_only_older_points_need_are_parted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the first point's packs are large; what the others' hold is gathered, which allows for as much.
    monkeypatch.setattr("holdfast.repository.collect.plan._SMALL_BYTES", 500_000)
    repository = new_repository(cut=SMALL_CUT)
    made = history(repository, 24)
    newest, _ = made[-1]
    before = unneeded_share(reads(repository, newest))
    assert repository.collector(Silence()).plan().parted
    collect(repository)
    assert unneeded_share(reads(repository, newest)) < before / 4
    assert collect(repository).condemned_packs == 0
    assert check(repository).ok
    for point, content in made:
        assert restored(repository, point) == content


def ascending_share(runs: list[ReadRun]) -> float:
    """How many records begin behind the one before them on the disk too, by the first segment of each."""
    starts = [int(run.layout.starts[rows.start]) for run in runs for _, rows in run.by_record()]
    return float(np.mean(np.diff(starts) > 0))


def test_the_newest_point_is_read_about_from_the_beginning_to_the_end() -> None:
    repository = new_repository(cut=SMALL_CUT)
    newest, _ = history(repository, 24)[-1]
    before = ascending_share(reads(repository, newest))
    collect(repository)
    assert ascending_share(reads(repository, newest)) > max(0.75, before)
