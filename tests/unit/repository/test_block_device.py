"""A block device gives the disk's bytes wherever it is asked, keeps no more than it says, and follows what moves."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DamagedError
from holdfast.repository import BlockDevice, BlockMissingError, MemoryStorage, Repository, hand_over, take_over
from holdfast.repository import block_device as module
from holdfast.repository.packs import DATA
from holdfast.repository.storage.port import Stored
from tests.support.collections import collect, purge
from tests.support.disks import changed, whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository, reopened
from tests.support.secrets import a_secret
from tests.support.storage import RecordingStorage

BLOCK = 4096
SIZE = 1_000_000


def a_disk() -> bytes:
    """Noise, zeros inside regions and across them, and an odd end."""
    chance = random.Random(5)
    content = bytearray(chance.randbytes(SIZE))
    for block in (0, 1, 5, *range(30, 70), 101, 243):
        content[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
    return bytes(content[:SIZE])


CONTENT = a_disk()
NON_ZERO = [at for at in range(0, SIZE, BLOCK) if any(CONTENT[at : at + BLOCK])]


@pytest.fixture(autouse=True, params=[module._LARGE_BYTES, 1], ids=["by-record", "in-runs"])
def large_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it holds whether reads count as small or as large ones."""
    monkeypatch.setattr(module, "_LARGE_BYTES", request.param)


def read(device: BlockDevice, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xaa" * length)
    device.read_into(offset, memoryview(buffer))
    return bytes(buffer)


@pytest.fixture(scope="module")
def device() -> BlockDevice:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    fresh = reopened(repository)
    fresh.records.load_index()
    return fresh.open_device(point.disks[0].root)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(1, 200_000))
def test_it_reads_what_was_written(device: BlockDevice, offset: int, length: int) -> None:
    length = min(length, SIZE - offset)
    assert read(device, offset, length) == CONTENT[offset : offset + length]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_it_tells_where_data_lies(device: BlockDevice, one: int, other: int) -> None:
    start, end = min(one, other), max(one, other)
    found = list(device.data(start, end))
    wanted = [at for at in NON_ZERO if max(at, start) < min(at + BLOCK, end)]
    covered = [at for at in range(0, SIZE, BLOCK) if any(held.start < at + BLOCK and held.end > at for held in found)]
    assert covered == wanted
    assert all(start <= held.start < held.end <= end for held in found)
    assert all(before.end < after.start for before, after in pairwise(found))


def test_a_disk_of_zeros_has_no_data() -> None:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(bytes(SIZE))]).point
    device = repository.open_device(point.disks[0].root)
    assert list(device.data(0, SIZE)) == []
    assert read(device, 5, 10_000) == bytes(10_000)
    assert device.size_bytes == SIZE


def test_many_threads_read_at_once(device: BlockDevice) -> None:
    offsets = random.Random(1).sample(range(SIZE - 9000), 400)
    with ThreadPoolExecutor(8) as threads:
        for offset, found in zip(offsets, threads.map(lambda at: read(device, at, 9000), offsets), strict=True):
            assert found == CONTENT[offset : offset + 9000]


def test_a_read_fetches_one_record_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    storage = RecordingStorage(repository.storage)
    fresh = reopened(new_view(repository, storage))
    fresh.records.load_index()
    device = fresh.open_device(point.disks[0].root)
    assert read(device, 0, SIZE) == CONTENT  # the maps are known now
    fresh.records.kept_bytes = 0
    monkeypatch.setattr(fresh.records.index, "copies", None)
    for offset in random.Random(2).sample(range(0, SIZE - BLOCK, BLOCK), 50):
        before = len(storage.operations)
        assert read(device, offset, BLOCK) == CONTENT[offset : offset + BLOCK]
        assert len(storage.operations) - before <= 1


def test_large_reads_fetch_neighbouring_records_at_once_and_keep_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE_BYTES", 1)
    repository = new_repository()
    content = random.Random(6).randbytes(5 << 20)
    point = back_up_disks(repository, [whole(content)]).point
    storage = RecordingStorage(repository.storage)
    fresh = reopened(new_view(repository, storage))
    fresh.records.load_index()
    device = fresh.open_device(point.disks[0].root)
    list(device.data(0, len(content)))  # the maps are known now
    before, kept = len(storage.operations), fresh.records._now_kept_bytes
    with ThreadPoolExecutor(2 * module._RUN_READERS) as threads:
        reads = list(threads.map(lambda _: read(device, 0, len(content)), range(module._RUN_READERS)))
    assert reads == [content] * module._RUN_READERS
    assert len(storage.operations) - before <= module._RUN_READERS * 4
    assert fresh.records._now_kept_bytes == kept


def test_more_large_reads_than_there_are_readers_are_read_by_record(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    monkeypatch.setattr(module, "_RUN_READERS", 0)
    device = repository.open_device(point.disks[0].root)
    assert read(device, 0, SIZE) == CONTENT


def new_view(repository: Repository, storage: RecordingStorage) -> Repository:
    """The same repository over another view of its storage."""
    return Repository(storage, repository.config, repository.keys)


def test_it_keeps_no_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    device = repository.open_device(point.disks[0].root)
    repository.records.kept_bytes = 64 * 1024
    monkeypatch.setattr(module, "_KEPT_REGION_BYTES", 5000)
    monkeypatch.setattr(module, "_KEPT_PACKS", 1)
    for offset in random.Random(3).sample(range(SIZE - BLOCK), 100):
        assert read(device, offset, BLOCK) == CONTENT[offset : offset + BLOCK]
        assert device._regions_cost <= 5000
        assert sum(region.cost for region in device._regions.values()) == device._regions_cost
        assert len(device._packs) <= 1
        assert repository.records._now_kept_bytes <= 64 * 1024
        assert (
            sum(len(frame.plain) for frame in repository.records._kept.values()) == repository.records._now_kept_bytes
        )


def test_a_flipped_bit_is_an_error_and_never_other_bytes() -> None:
    storage = MemoryStorage()
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    fresh = reopened(repository)
    fresh.records.load_index()
    device = fresh.open_device(point.disks[0].root)
    list(device.data(0, SIZE))
    data = [each for each in fresh.records.index.packs if each.header.type == DATA]
    pack = max(data, key=lambda each: len(each.table.ids))
    record = pack.table.records[0]
    blob = bytearray(storage.get(pack.object))
    blob[int(record["offset"]) + 7] ^= 1
    storage.delete(pack.object)
    storage.put(pack.object, [bytes(blob)])
    damaged = 0
    for offset in range(0, SIZE - BLOCK, BLOCK):
        try:
            assert read(device, offset, BLOCK) == CONTENT[offset : offset + BLOCK]
        except BlockMissingError:
            damaged += 1
    assert 0 < damaged < len(NON_ZERO)
    with pytest.raises(BlockMissingError):
        read(device, 0, SIZE)


def test_records_that_a_collection_moves_and_a_new_epoch_seals_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
    repository = new_repository(cut=SMALL_CUT)
    first = back_up_disks(repository, [whole(CONTENT)]).point
    later = bytes(100_000) + CONTENT[100_000:]
    point = back_up_disks(repository, [changed(later, CONTENT)], parent=first).point
    reader = reopened(repository)
    reader.records.load_index()
    device = reader.open_device(point.disks[0].root)
    assert read(device, 0, SIZE) == later
    reader.records.kept_bytes = 0
    repository.keyring.rotate()
    purge(repository, first)
    assert collect(repository).rewritten_bytes > 0
    assert read(device, 0, SIZE) == later
    assert next(device.data(0, SIZE)).start >= 98_304


def test_what_is_out_of_reach_for_a_while_is_read_again_later() -> None:
    storage = Away()
    repository = new_repository(storage, SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    reader = reopened(repository)
    reader.records.load_index()
    device = reader.open_device(point.disks[0].root)
    storage.away = True
    with pytest.raises(DamagedError):
        read(device, 100_000, BLOCK)
    storage.away = False
    assert read(device, 0, SIZE) == CONTENT


class Away(MemoryStorage):
    """A medium that is taken out: its directory is empty."""

    away = False

    def list(self, prefix: str) -> Iterator[Stored]:
        return iter(()) if self.away else super().list(prefix)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        super().read_into("nothing" if self.away else name, offset, buffer)

    def get(self, name: str) -> bytes:
        return super().get("nothing" if self.away else name)


def test_who_takes_over_an_open_repository_reads_writes_and_signs() -> None:
    repository = new_repository(cut=SMALL_CUT)
    point = back_up_disks(repository, [whole(CONTENT)]).point
    repository.keyring.add(a_secret(b"another"), "another")
    taken = take_over(repository.storage, hand_over(repository))
    assert taken.open_disk(point.disks[0].root).read_all() == CONTENT
    assert taken.keyring.rotate() == 2
    assert repository.state().keys.epoch == 2
    assert b"another" not in hand_over(taken)
