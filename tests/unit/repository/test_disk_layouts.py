"""Where a disk's segments belong is read in few large reads, and from whatever copy of a leaf is good."""

import os

import pytest

from holdfast.repository import MemoryStorage, Repository, StoredDisk
from holdfast.repository.packs import NODES
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened
from tests.support.storage import RecordingStorage

REGION = SMALL_CUT.region_bytes
HOLE = 7
CONTENT = os.urandom(HOLE * REGION) + bytes(REGION) + os.urandom(400 * REGION + 5000)


@pytest.fixture(scope="module")
def backed_up() -> tuple[Repository, str]:
    repository = new_repository(RecordingStorage(MemoryStorage()), SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    return repository, point.disks[0].root


def opened(backed_up: tuple[Repository, str]) -> tuple[Repository, StoredDisk]:
    """Somebody who has read nothing of the disk but its root."""
    repository, root = backed_up
    fresh = reopened(repository)
    fresh.records.load_index()
    return fresh, fresh.open_disk(root)


def test_all_layouts_are_those_of_the_regions_that_hold_data_in_order(backed_up: tuple[Repository, str]) -> None:
    _, disk = opened(backed_up)
    together = [(layout.ids.tolist(), layout.starts.tolist(), layout.lengths.tolist()) for layout in disk.layouts()]
    one_by_one = [disk.layout(region, leaf) for region, leaf in disk.leaves() if leaf]
    assert together == [(each.ids.tolist(), each.starts.tolist(), each.lengths.tolist()) for each in one_by_one]
    assert HOLE * REGION not in {layout.starts[0] for layout in one_by_one}
    assert sum(int(layout.lengths.sum()) for layout in one_by_one) == len(CONTENT) - REGION


def test_leaves_of_many_records_are_read_at_once(backed_up: tuple[Repository, str]) -> None:
    repository, disk = opened(backed_up)
    node_packs = [pack for pack in repository.records.index.packs if pack.header.type == NODES]
    records = sum(len(pack.table.records) for pack in node_packs)
    storage = repository.storage
    assert isinstance(storage, RecordingStorage)
    list(disk.leaves())  # the pages
    before = len(storage.names("read"))
    list(disk.layouts())
    assert records > 2
    assert len(storage.names("read")) - before == len(node_packs)
