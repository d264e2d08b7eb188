"""What somebody hid or overwrote in a store that keeps versions shows again, and nothing else changes."""

import random

import pytest

from holdfast.core.errors import RefusedError
from holdfast.repository import MemoryStorage, hidden_objects, open_repository, unhide
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, restored
from tests.support.versions import VersionedStorage

CONTENT = random.Random(1).randbytes(300_000)


def test_every_object_that_was_hidden_and_overwritten_shows_again() -> None:
    storage = VersionedStorage()
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    names = sorted(storage.shelf.versions)
    for number, name in enumerate(names):
        for content in ([None], [b"garbage"], [b"garbage", None], [None, b"garbage"])[number % 4]:
            storage.shelf.add(name, content)
    assert sorted(each.name for each in hidden_objects(storage)) == names
    assert unhide(storage, list(hidden_objects(storage))) == len(names)
    assert list(hidden_objects(storage)) == []
    survivor = open_repository(storage, PASSPHRASE)
    assert restored(survivor, point) == CONTENT
    assert check(survivor).ok


def test_a_pack_whose_oldest_version_is_wrong_is_found_among_the_newer() -> None:
    storage = VersionedStorage()
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    for name, kept in storage.shelf.versions.items():
        if name.startswith(("packs/", "index/")):
            kept.insert(0, kept[0]._replace(id=f"earlier {name}", content=b"garbage"))
            storage.shelf.add(name, None)
    unhide(storage, list(hidden_objects(storage)))
    assert restored(open_repository(storage, PASSPHRASE), point) == CONTENT


def test_what_has_no_good_version_is_left_as_it_is() -> None:
    storage = VersionedStorage()
    storage.shelf.add("packs/ab/" + "ab" * 32, b"garbage")
    storage.shelf.add("packs/ab/" + "ab" * 32, None)
    assert list(hidden_objects(storage)) == []


def test_where_no_versions_are_kept_that_is_said() -> None:
    for storage in (MemoryStorage(), VersionedStorage(locks=False)):
        with pytest.raises(RefusedError) as refused:
            list(hidden_objects(storage))
        assert refused.value.code == "no-object-lock"
