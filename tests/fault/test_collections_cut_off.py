"""Collections that are cut off, or fail, at any step: every point that was not purged stays exact, what was freed stays
freed, and the next collection ends what was begun."""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import LocalDirectory, MemoryStorage, Repository, open_repository
from tests.fault.test_power_cuts import in_memory
from tests.support.collections import collect, plan_of, purge
from tests.support.disks import changed, whole
from tests.support.kernel import Fate, Medium, watched
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, restored
from tests.support.storage import FATES, Fault, FaultyStorage, PowerCut, failing, failing_after_it_happened, full

Known = list[tuple[RestorePoint, bytes]]


@pytest.fixture(autouse=True, scope="module")
def small_packs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        patch.setattr("holdfast.repository.packing.PACK_BYTES", 150_000)
        patch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
        yield


def content(seed: int, size: int = 200_000) -> bytes:
    return random.Random(seed).randbytes(size)


def ready_to_collect(repository: Repository) -> Known:
    """Purged points whose packs are dead, partly dead, and listed beside living ones; returns the others."""
    first = content(1)
    second = content(2, 60_000) + first[60_000:]
    third = second[:90_000] + content(3, 50_000) + second[140_000:]
    one = back_up_disks(repository, [whole(first)]).point
    two = back_up_disks(repository, [changed(second, first)], parent=one).point
    three = back_up_disks(repository, [changed(third, second)], parent=two, definition=b"<domain/>" * 99).point
    other = back_up_disks(repository, [whole(content(4, 100_000))], machine="other").point
    purge(repository, one, other)
    return [(two, second), (three, third)]


def require_all_well(storage: MemoryStorage, known: Known) -> None:
    """As whoever comes next sees it; and the next collection, and the next backup."""
    repository = open_repository(storage, PASSPHRASE)
    assert repository.state().standings.keys() == {point.id for point, _ in known}
    for point, expected in known:
        assert restored(repository, point) == expected
    report = check(repository)
    assert report.ok, report.damage
    collect(repository)
    left = plan_of(repository)
    assert (left.dead, dict(left.leftovers)) == ((), {})
    newest, before = known[-1]
    after = content(5, 30_000) + before[30_000:]
    following = back_up_disks(repository, [changed(after, before)], parent=newest).point
    stranger = open_repository(storage, PASSPHRASE)
    for point, expected in [*known, (following, after)]:
        assert restored(stranger, point) == expected
    report = check(repository)
    assert report.ok, report.damage


@pytest.fixture(scope="module")
def prepared() -> tuple[dict[str, bytes], Known]:
    storage = MemoryStorage()
    known = ready_to_collect(new_repository(storage, SMALL_CUT))
    return storage.objects, known


def in_each(kind: str, objects: dict[str, bytes], fault: Fault) -> Iterator[tuple[FaultyStorage, BaseException | None]]:
    """A collection that meets the fault in its first put (or delete), in its second, and so on to the last."""
    for number in count(1):
        memory = MemoryStorage()
        memory.objects.update(objects)
        storage = FaultyStorage(memory)
        plan = storage.at_put if kind == "put" else storage.at_delete
        repository = open_repository(storage, PASSPHRASE)
        ended_with: BaseException | None = None
        try:
            with plan(number, fault):
                try:
                    repository.collector(Silence()).run()
                except (PowerCut, HoldfastError) as error:
                    ended_with = error
        except AssertionError:
            assert number > 3, f"there are only {number - 1}"
            return
        yield storage, ended_with


@pytest.mark.parametrize("fate", sorted(FATES))
@pytest.mark.parametrize("kind", ["put", "delete"])
def test_a_cut_in_any_step_loses_nothing(prepared: tuple[dict[str, bytes], Known], kind: str, fate: str) -> None:
    objects, known = prepared
    steps = set()
    for storage, ended_with in in_each(kind, objects, FATES[fate]):
        assert isinstance(ended_with, PowerCut), "a power cut was swallowed"
        steps.add((storage.puts if kind == "put" else storage.deletes)[-1].partition("/")[0])
        assert isinstance(storage.inner, MemoryStorage)
        require_all_well(storage.inner, known)
    assert steps == ({"packs", "index", "log"} if kind == "put" else {"packs", "index"})


@pytest.mark.parametrize("fault", [full, failing, failing_after_it_happened])
@pytest.mark.parametrize("kind", ["put", "delete"])
def test_a_step_that_fails_loses_nothing_and_says_so(
    prepared: tuple[dict[str, bytes], Known], kind: str, fault: Fault
) -> None:
    objects, known = prepared
    for storage, _ in in_each(kind, objects, fault):
        assert isinstance(storage.inner, MemoryStorage)
        require_all_well(storage.inner, known)


def test_nothing_is_deleted_before_the_entry_that_condemns_it_is_there(
    prepared: tuple[dict[str, bytes], Known],
) -> None:
    objects, _ = prepared
    memory = MemoryStorage()
    memory.objects.update(objects)
    storage = FaultyStorage(memory)
    repository = open_repository(storage, PASSPHRASE)
    with storage.at_every_put("log/", failing), pytest.raises(HoldfastError):
        repository.collector(Silence()).run()
    assert storage.deletes == []


def test_what_must_not_be_deleted_yet_is_told_and_left_to_the_next_collection(
    prepared: tuple[dict[str, bytes], Known],
) -> None:
    objects, known = prepared
    memory = MemoryStorage()
    memory.objects.update(objects)
    storage = FaultyStorage(memory)
    repository = open_repository(storage, PASSPHRASE)
    dead = [f"packs/{use.name[:2]}/{use.name}" for use in repository.collector(Silence()).plan().dead]
    storage.undeletable = {name: DeniedError("locked") for name in dead}
    report = repository.collector(Silence()).run()
    assert report.warnings == (f"{len(dead)} objects could not be deleted yet: locked",)
    assert memory.objects.keys() >= set(dead)
    storage.undeletable = {}
    assert repository.collector(Silence()).run().deleted_objects == len(dead)
    require_all_well(memory, known)


# --- at every call to the system --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["lost", "torn", "kept"])
def test_a_cut_after_any_call_to_the_system_loses_nothing(tmp_path: Path, fate: Fate) -> None:
    root = tmp_path / "repository"
    with watched() as kernel:
        storage = LocalDirectory.create(root)
        kernel.trace.clear()
        repository = new_repository(storage, SMALL_CUT)
        known = ready_to_collect(repository)
        begun = len(kernel.trace)
        collect(repository)
    medium = Medium(root)
    seen: set[object] = set()
    for step, event in enumerate(kernel.trace, start=1):
        medium.apply(event)
        if step >= begun:
            left = medium.surviving(fate)
            state = frozenset(left.items())
            if state not in seen:
                seen.add(state)
                survivor = in_memory(left)
                assert isinstance(survivor, MemoryStorage)
                require_all_well(survivor, known)
    assert len(seen) > 10


def test_deleting_waits_for_the_decision_of_another_to_be_durable(tmp_path: Path) -> None:
    """Whoever condemned packs has named the entry and not come to sync its directory; then the power goes."""
    root = tmp_path / "repository"
    with watched() as kernel:
        storage = LocalDirectory.create(root)
        kernel.trace.clear()
        repository = new_repository(storage, SMALL_CUT)
        ready_to_collect(repository)
        dead = [use.name for use in plan_of(repository).dead]

        def meanwhile(path: Path) -> None:
            if path == root / "log" and (root / entry).exists():
                kernel.before.clear()
                kernel.note("another begins")
                collect(repository)

        entry = f"log/{repository.state().number + 1:012}"
        kernel.before["fsync"] = meanwhile
        repository.collector(Silence()).run()
    trace = kernel.trace
    begins = next(at for at, event in enumerate(trace) if event.kind == "note")
    packs = [at for at, event in enumerate(trace) if event.kind == "unlink" and event.path.name in dead]
    assert packs
    assert begins < packs[0], "the other was to do the deleting"
    assert any(event.kind == "sync" and event.path == root / "log" for event in trace[begins : packs[0]])
