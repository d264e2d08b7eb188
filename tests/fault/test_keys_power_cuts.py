"""The power goes at every step of a change of keys: whoever had a key before or is to have one after opens."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from holdfast.core.errors import RefusedError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, restored
from tests.support.secrets import a_secret, opens
from tests.support.storage import FATES, FaultyStorage, PowerCut

OTHER, NEW = b"battery staple", b"paper clip"
BEFORE, AFTER = b"before" * 20_000, b"after" * 20_000

Change = Callable[[Repository], object]

CHANGES: dict[str, tuple[Change, set[bytes], set[bytes]]] = {
    # what is done with PASSPHRASE; who opens before, who opens after
    "add": (lambda it: it.keyring.add(a_secret(NEW), ""), {PASSPHRASE, OTHER}, {PASSPHRASE, OTHER, NEW}),
    "change": (lambda it: (it.keyring.change(a_secret(NEW)), it.keyring.sweep()), {PASSPHRASE, OTHER}, {OTHER, NEW}),
    "remove": (lambda it: it.keyring.remove(2), {PASSPHRASE, OTHER}, {PASSPHRASE}),
    "rotate": (lambda it: it.keyring.rotate(), {PASSPHRASE, OTHER}, {PASSPHRASE, OTHER}),
}


class Step:
    """Where a power cut struck, and what it left."""

    def __init__(self, kind: str, name: str, left: MemoryStorage, point: RestorePoint) -> None:
        self.kind = kind
        self.name = name
        self.left = left
        self.point = point


def cut_at_every_step(change: Change, fate: str) -> Iterator[Step]:
    """One run of the change for each put and delete in it."""
    for kind in ("put", "delete"):
        for number in count(1):
            memory = MemoryStorage()
            first = new_repository(memory)
            first.keyring.add(a_secret(OTHER), "")
            point = back_up_disks(first, [whole(BEFORE)]).point
            storage = FaultyStorage(memory)
            repository = open_repository(storage, PASSPHRASE)
            plan = storage.at_put if kind == "put" else storage.at_delete
            try:
                with plan(number, FATES[fate]):
                    change(repository)
            except PowerCut:
                names = storage.puts if kind == "put" else storage.deletes
                yield Step(kind, names[number - 1], memory, point)
            except AssertionError:  # the change has fewer steps than that: every one of them has been cut
                break
            else:
                pytest.fail("a power cut was swallowed")


def who_opens(storage: MemoryStorage) -> set[bytes]:
    return {content for content in (PASSPHRASE, OTHER, NEW) if opens(storage, content)}


@pytest.mark.parametrize("fate", sorted(FATES))
@pytest.mark.parametrize("name", CHANGES)
def test_a_cut_in_any_step_leaves_the_keys_of_before_or_of_after(name: str, fate: str) -> None:
    change, before, after = CHANGES[name]
    seen: list[tuple[str, bool]] = []
    for step in cut_at_every_step(change, fate):
        decided = step.kind == "delete" or (step.name.startswith("log/") and fate == "kept")
        assert who_opens(step.left) == (after if decided else before), f"{step.kind} {step.name}"
        seen.append((f"{step.kind} {step.name.partition('/')[0]}", decided))
        for content in who_opens(step.left):
            opened = open_repository(step.left, content)
            assert restored(opened, step.point) == BEFORE
            following = back_up_disks(opened, [whole(AFTER)]).point
            for other in who_opens(step.left):
                assert restored(open_repository(step.left, other), following) == AFTER
        assert opened_by_anybody(step.left).check(Silence()).ok
    kinds = {kind for kind, _ in seen}
    assert "put log" in kinds
    assert ("put keys" in kinds) == (name in {"add", "change"})
    assert ("delete keys" in kinds) == (name in {"change", "remove"})


def opened_by_anybody(storage: MemoryStorage) -> Repository:
    repository = next(filter(None, (opens(storage, content) for content in (PASSPHRASE, OTHER, NEW))))
    return Repository(storage, repository.config, repository.keys)


@pytest.mark.parametrize("fate", sorted(FATES))
@pytest.mark.parametrize("name", CHANGES)
def test_whatever_a_cut_left_the_change_can_be_made_again(name: str, fate: str) -> None:
    change, _, after = CHANGES[name]
    for step in cut_at_every_step(change, fate):
        again = opens(step.left, PASSPHRASE)
        if again is None:
            assert name == "change", "the passphrase is the one that was changed: it is done"
        elif name == "add" and opens(step.left, NEW):
            with pytest.raises(RefusedError, match="opens key 3 already"):
                change(again)
        else:
            change(again)
        assert who_opens(step.left) == after
        holder = next(filter(None, (opens(step.left, content) for content in after)))
        holder.keyring.sweep()
        unfinished = set(holder.keyring.unfinished())
        valid = {slot.number for slot in holder.keyring.slots()}
        left = {int(each.split("/")[1].split(".")[0]) for each in step.left.objects if each.startswith("keys/")}
        assert left == valid | unfinished
        for number in unfinished:
            holder.keyring.remove(number)
        assert holder.keyring.unfinished() == []
        assert who_opens(step.left) == after
