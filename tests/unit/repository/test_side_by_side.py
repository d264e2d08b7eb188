"""Whole objects one behind the other, from a storage near and far: the same answers, and no heap of large ones."""

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.repository import MemoryStorage
from holdfast.repository.storage.port import ObjectMissingError, Stored
from holdfast.repository.storage.side_by_side import get_side_by_side, read_side_by_side

LARGE = 2 * 1024 * 1024


class Watched(MemoryStorage):
    """Says what has been got."""

    def __init__(self, reads_at_once: int) -> None:
        super().__init__()
        self.reads_at_once = reads_at_once
        self.got: list[str] = []

    def get(self, name: str) -> bytes:
        self.got.append(name)
        return super().get(name)


@pytest.mark.parametrize("reads_at_once", [1, 4])
def test_objects_come_in_order_and_what_is_missing_says_so_in_its_place(reads_at_once: int) -> None:
    storage = Watched(reads_at_once)
    sizes = [3, LARGE, 0, LARGE, 5, 7, LARGE]
    objects = [Stored(f"log/{number}", size) for number, size in enumerate(sizes)]
    for each in objects:
        storage.put(each.name, [bytes([each.size % 251]) * each.size])
    objects.insert(4, Stored("log/nowhere", 9))
    answers = list(get_side_by_side(storage, objects))
    assert isinstance(answers.pop(4), ObjectMissingError)
    assert [len(each) for each in answers if not isinstance(each, HoldfastError)] == sizes
    assert len(storage.got) == len(objects)


def test_a_large_object_is_got_when_it_is_wanted() -> None:
    storage = Watched(8)
    objects = [Stored(f"index/{number}", LARGE) for number in range(6)]
    for each in objects:
        storage.put(each.name, [bytes(LARGE)])
    for number, _ in enumerate(get_side_by_side(storage, objects), 1):
        assert len(storage.got) == number


def test_a_near_storage_is_read_when_the_next_is_wanted() -> None:
    done: list[int] = []
    answers = read_side_by_side(Watched(1), lambda number: done.append(number) or number, range(9))  # type: ignore[func-returns-value]
    next(answers)
    assert done == [0]
