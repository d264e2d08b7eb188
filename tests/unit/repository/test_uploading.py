"""How packs get home: side by side if the storage asks for it, listed early, and never before they are durable."""

import random
import threading
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from holdfast.repository import MemoryStorage, Repository
from holdfast.repository.index_objects import decode_index_object
from holdfast.repository.storage.port import Bytes
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, check, new_repository, reopened, restored

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 70_000)


class Wide(MemoryStorage):
    """Asks for three puts at once, and lets no pack become durable before so many are under way."""

    puts_at_once = 3

    def __init__(self) -> None:
        super().__init__()
        self.under_way = self.most = 0
        self._changed = threading.Condition()

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        with self._changed:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self._changed.notify_all()
        if name.startswith("packs/"):
            self._be_one_of_many()
        super().put(name, parts, verify_share=verify_share)
        with self._changed:
            self.under_way -= 1

    def _be_one_of_many(self) -> None:
        """Until so many have come, and a little longer, so that one too many would be seen."""
        with self._changed:
            self._changed.wait_for(lambda: self.most >= self.puts_at_once, timeout=10)
        time.sleep(0.01)


def test_as_many_packs_are_under_way_as_the_storage_asks_for(small_packs: None) -> None:
    storage = Wide()
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    assert storage.most == 3
    assert restored(reopened(repository), point) == CONTENT
    assert check(repository).ok


def test_no_index_object_is_put_before_all_that_it_lists(small_packs: None) -> None:
    class Strict(Wide):
        def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
            if name.startswith("index/"):
                packs = decode_index_object(repository.keys, b"".join(parts), name).packs
                assert {pack.object for pack in packs} <= self.objects.keys()
            super().put(name, parts, verify_share=verify_share)

    repository = new_repository(Strict(), SMALL_CUT)
    back_up_disks(repository, [whole(CONTENT)])
    assert check(repository).ok


def listed(repository: Repository) -> list[int]:
    """How many packs each index object lists, smallest first."""
    objects = repository.storage.objects  # type: ignore[attr-defined]
    names = [name for name in objects if name.startswith("index/")]
    return sorted(len(decode_index_object(repository.keys, objects[name], name).packs) for name in names)


def test_packs_are_listed_early_and_in_ever_larger_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 20_000)
    repository = new_repository(cut=SMALL_CUT)
    back_up_disks(repository, [whole(random.Random(2).randbytes(8_000_000))])
    counts = listed(repository)
    assert sum(counts) > 100
    assert counts.count(4) >= 8
    assert counts[-1] > 10
    assert len(counts) < sum(counts) / 5


def test_a_small_increment_makes_one_index_object() -> None:
    repository = new_repository(cut=SMALL_CUT)
    back_up_disks(repository, [whole(CONTENT[:100_000])])
    assert len(listed(repository)) == 1


def test_what_another_process_has_listed_meanwhile_is_not_stored_again(
    small_packs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins before the first has stored anything, and so must look again.

    It has one lane: others would go on without the news while the first takes them in, for as long as that lasts.
    """
    monkeypatch.setattr("holdfast.repository.writer._NEWS_EVERY_S", 0.0)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    one = new_repository(cut=SMALL_CUT)
    other = reopened(one)

    def meanwhile(offset: int, length: int) -> None:
        if not made:
            made.append(back_up_disks(one, [whole(CONTENT)]))

    made: list[object] = []
    late = back_up_disks(other, [whole(CONTENT, fault=meanwhile)], machine="db")
    assert late.sent_bytes == 0
    assert restored(other, late.point) == CONTENT
    assert check(one).ok


def test_news_that_cannot_be_had_end_no_backup(monkeypatch: pytest.MonkeyPatch, small_packs: None) -> None:
    monkeypatch.setattr("holdfast.repository.writer._NEWS_EVERY_S", 0.0)
    repository = new_repository(cut=SMALL_CUT)

    class Deaf(MemoryStorage):
        pass

    with closing(repository.begin()) as attempt:
        attempt._records.storage = Deaf()
        attempt._look_for_news()
    assert back_up_disks(repository, [whole(CONTENT)]).point in repository.points()
