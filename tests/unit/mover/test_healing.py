"""A repository that has lost something gets it back from disks that still hold it; it never builds on what is lost."""

import random

import pytest

from holdfast.core.errors import DamagedError
from holdfast.core.extents import Extent
from holdfast.mover import Care
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.support.disks import CapturedModel, changed, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

CONTENT = random.Random(5).randbytes(20 * SMALL_CUT.region_bytes)


def damaged_repository(damage: str) -> Repository:
    """One point, and then every pack lost, cut short, or with a byte flipped in the middle."""
    storage = MemoryStorage()
    back_up_disks(new_repository(storage, SMALL_CUT), [whole(CONTENT)])
    for name in [name for name in storage.objects if name.startswith("packs/")]:
        pack = bytearray(storage.objects.pop(name))
        pack[len(pack) // 2] ^= 1
        if damage != "lost":
            storage.objects[name] = bytes(pack if damage == "flipped" else pack[: len(pack) // 2])
    return open_repository(storage, PASSPHRASE)


@pytest.mark.parametrize("damage", ["lost", "cut short"])
def test_what_lost_packs_held_is_stored_again_without_being_asked(damage: str) -> None:
    repository = damaged_repository(damage)
    (old,) = repository.points()
    with pytest.raises(DamagedError):
        restored(repository, old)
    new = back_up_disks(repository, [changed(CONTENT, CONTENT)], parent=old).point
    assert new.disks[0].capture == "full"
    for point in (old, new):
        assert restored(reopened(repository), point) == CONTENT


def test_a_healing_backup_stores_damaged_records_anew_for_every_point() -> None:
    repository = damaged_repository("flipped")
    (old,) = repository.points()
    new = back_up_disks(repository, [changed(CONTENT, CONTENT)], parent=old, care=Care(heal=True)).point
    for point in (old, new):
        assert restored(reopened(repository), point) == CONTENT
    assert all(damage.point is None for damage in check(repository).damage)


def test_a_healing_backup_of_a_sound_repository_stores_nothing() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    old = back_up_disks(repository, [whole(CONTENT)]).point
    outcome = back_up_disks(repository, [changed(CONTENT, CONTENT)], parent=old, care=Care(heal=True))
    assert outcome.sent_bytes == 0
    assert outcome.read_bytes == len(CONTENT)


def test_a_disk_that_was_cut_short_and_grew_again_is_read_in_full_although_nothing_seems_changed() -> None:
    repository = new_repository(MemoryStorage(), SMALL_CUT)
    old = back_up_disks(repository, [whole(CONTENT)]).point
    half = len(CONTENT) // 2
    regrown = CapturedModel(name="vda", content=CONTENT[:half] + bytes(half), held=[Extent(0, half)], changed=[])
    new = back_up_disks(repository, [regrown], parent=old).point
    assert restored(repository, new) == CONTENT[:half] + bytes(half)
