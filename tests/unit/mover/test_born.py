"""A machine that was made of a point gets that as its first point, and nothing is read or stored for it."""

import random
from datetime import UTC, datetime

import pytest

from holdfast.core.boot import Newborn
from holdfast.core.progress import Silence
from holdfast.mover import record_birth
from tests.support.disks import changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, restored

CONTENT = random.Random(1).randbytes(40 * SMALL_CUT.region_bytes)
BORN = datetime(2026, 3, 1, tzinfo=UTC)
MARK = {"checkpoint": "holdfast-00000000-1"}


@pytest.mark.parametrize("machine_id", ["another", "machine-1"])
def test_a_birth_shares_the_trees_and_the_next_backup_builds_on_its_mark(machine_id: str) -> None:
    repository = new_repository(cut=SMALL_CUT)
    origin = back_up_disks(repository, [whole(CONTENT)], machine_id="machine-1").point
    newborn = Newborn(id=machine_id, name="again", definition=b"<domain/>", marks={"vda": MARK})
    born = record_birth(repository, origin, newborn, BORN, progress=Silence())
    assert (born.machine, born.machine_id, born.captured_at) == ("again", machine_id, BORN)
    assert born.parent == (origin.id if machine_id == "machine-1" else None)
    assert (born.disks[0].root, born.disks[0].mark) == (origin.disks[0].root, MARK)
    assert born.definition.xml is not None
    assert repository.read_blob(born.definition.xml) == b"<domain/>"
    assert repository.newest_of(machine_id) == born

    now = b"changed" + CONTENT[7:]
    after = back_up_disks(repository, [changed(now, CONTENT)], parent=born)
    assert after.read_bytes <= 2 * SMALL_CUT.region_bytes
    assert restored(repository, after.point) == now
    assert check(repository).ok
