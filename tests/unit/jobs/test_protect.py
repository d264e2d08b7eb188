"""Protecting machines: what a result says, which baseline is used, and what a failure leaves."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from holdfast.core.errors import FailedError, NotFoundError, RefusedError
from holdfast.core.ports import CaptureOptions
from holdfast.jobs.protect import protect_images, protect_machine
from holdfast.jobs.results import BackupResult
from holdfast.mover import Care
from holdfast.repository import KdfCost, MemoryStorage, Repository, create_repository
from tests.unit.jobs.memory import BLOCK, MemoryPlatform, Watcher

MIB = 1 << 20


def a_repository() -> Repository:
    return create_repository(MemoryStorage(), b"x", cost=KdfCost(memory_kib=64, iterations=1, lanes=1))


def a_disk(size: int = 8 * MIB, fill: int = 1) -> bytearray:
    return bytearray(bytes([fill]) * (size // 2) + bytes(size - size // 2))


def protect(
    platform: MemoryPlatform, machine: str, repository: Repository, watcher: Watcher | None = None, **options: bool
) -> BackupResult:
    return protect_machine(
        platform,
        machine,
        repository,
        options=CaptureOptions(owner=repository.id[:8], **options),  # type: ignore[arg-type]
        care=Care(),
        progress=watcher or Watcher(),
    )


def content(repository: Repository, result: BackupResult, disk: str) -> bytes:
    point = next(point for point in repository.points() if point.id == result.point)
    chosen = point.disk(disk)
    assert chosen is not None
    return repository.open_disk(chosen.root).read_all()


def test_the_first_point_is_full_and_says_what_it_took() -> None:
    platform, repository = MemoryPlatform(), a_repository()
    machine = platform.add("web", {"vda": a_disk(), "vdb": a_disk(4 * MIB, fill=2)})
    result = protect(platform, "web", repository)
    assert (result.machine, result.machine_id) == ("web", machine.id)
    assert (result.capture, result.consistency, result.freeze_ms) == ("full", "filesystem", 12.3)
    assert result.read_bytes == 6 * MIB
    assert 0 < result.stored_bytes < 6 * MIB
    assert [(disk.name, disk.capture, disk.size_bytes, disk.read_bytes) for disk in result.disks] == [
        ("vda", "full", 8 * MIB, 4 * MIB),
        ("vdb", "full", 4 * MIB, 2 * MIB),
    ]
    assert all(disk.reason for disk in result.disks)
    assert result.warnings == ()
    assert [point.id for point in repository.points()] == [result.point]
    assert content(repository, result, "vdb") == bytes(machine.disks["vdb"])


def test_the_next_point_builds_on_the_newest_and_reads_what_changed() -> None:
    platform, repository = MemoryPlatform(), a_repository()
    machine = platform.add("web", {"vda": a_disk()})
    first = protect(platform, machine.id, repository)
    machine.disks["vda"][5 * MIB : 5 * MIB + BLOCK] = b"n" * BLOCK
    second = protect(platform, "web", repository)
    machine.disks["vda"][7 * MIB : 7 * MIB + BLOCK] = b"m" * BLOCK
    third = protect(platform, "web", repository)
    assert [baseline and baseline.point for baseline in platform.baselines] == [None, first.point, second.point]
    assert (second.capture, third.capture) == ("incremental", "incremental")
    assert second.read_bytes < MIB
    assert content(repository, third, "vda") == bytes(machine.disks["vda"])
    assert len(machine.snapshots) == 1, "only the newest mark is kept"


def test_another_machine_of_the_same_name_is_no_baseline() -> None:
    repository, one, other = a_repository(), MemoryPlatform(), MemoryPlatform()
    other.add("first", {"vda": a_disk()})  # takes the first identity
    one.add("web", {"vda": a_disk()})
    other.add("web", {"vda": a_disk()})
    protect(one, "web", repository)
    assert protect(other, "web", repository).capture == "full"
    assert other.baselines == [None]


def test_a_lost_mark_costs_reads_but_neither_bytes_nor_truth() -> None:
    platform, repository = MemoryPlatform(), a_repository()
    machine = platform.add("web", {"vda": a_disk()})
    protect(platform, "web", repository)
    machine.snapshots.clear()
    again = protect(platform, "web", repository)
    assert (again.capture, again.read_bytes, again.sent_bytes) == ("full", 4 * MIB, 0)
    assert content(repository, again, "vda") == bytes(machine.disks["vda"])


def test_a_guest_that_cannot_be_quiesced_gives_a_point_with_a_warning_told_once() -> None:
    platform, repository, watcher = MemoryPlatform(), a_repository(), Watcher()
    platform.add("web", {"vda": a_disk()}, agent=False)
    result = protect(platform, "web", repository, watcher)
    assert result.consistency == "crash"
    assert result.freeze_ms is None
    assert result.warnings == ("no guest agent: the point is crash-consistent",)
    assert watcher.warnings == list(result.warnings)


def test_a_guest_that_must_be_quiesced_and_cannot_is_refused() -> None:
    platform, repository = MemoryPlatform(), a_repository()
    platform.add("web", {"vda": a_disk()}, agent=False)
    with pytest.raises(RefusedError):
        protect(platform, "web", repository, require_quiesce=True)
    assert repository.points() == []


class Stop(BaseException):
    """Like an interrupt: no ordinary error."""


def unreadable(platform: MemoryPlatform) -> None:
    platform.faults.during_read = FailedError("cannot read vda at 0")


def stopped(platform: MemoryPlatform) -> None:
    platform.faults.during_read = Stop()


def doubtful(platform: MemoryPlatform) -> None:
    platform.faults.at_confirm = FailedError("the job ended meanwhile")


@pytest.mark.parametrize("fault", [unreadable, stopped, doubtful])
def test_whatever_ends_a_backup_leaves_the_old_point_and_its_mark(fault: Callable[[MemoryPlatform], None]) -> None:
    platform, repository = MemoryPlatform(), a_repository()
    machine = platform.add("web", {"vda": a_disk()})
    before = protect(platform, "web", repository)
    marks = dict(machine.snapshots)
    machine.disks["vda"][:BLOCK] = b"n" * BLOCK
    fault(platform)
    with pytest.raises((FailedError, Stop)):
        protect(platform, "web", repository)
    assert [point.id for point in repository.points()] == [before.point]
    assert machine.snapshots == marks
    platform.faults.during_read = platform.faults.at_confirm = None
    after = protect(platform, "web", repository)
    assert after.capture == "incremental"
    assert content(repository, after, "vda") == bytes(machine.disks["vda"])


def test_an_unknown_machine_is_not_found_before_anything_is_captured() -> None:
    platform, repository = MemoryPlatform(), a_repository()
    with pytest.raises(NotFoundError):
        protect(platform, "web", repository)
    assert platform.baselines == []


def test_a_capture_without_a_platform_builds_on_the_machines_own_points() -> None:
    platform, repository, watcher = MemoryPlatform(), a_repository(), Watcher()
    machine = platform.add("nas", {"data": a_disk()})
    options = CaptureOptions(owner=repository.id[:8])
    results = []
    for _ in range(2):
        with platform.capture(machine.id, None, options, watcher) as capture:
            results.append(
                protect_images(nullcontext(capture), repository, care=Care(verify_share=1.0), progress=watcher)
            )
    first, second = results
    assert (second.capture, second.sent_bytes) == ("full", 0)
    assert [point.parent for point in repository.points()] == [None, first.point]
