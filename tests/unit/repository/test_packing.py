"""Packs and index objects stay within their bounds, whatever a guest fills its disk with."""

import gc
import json
import random
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent
from holdfast.repository import MemoryStorage
from holdfast.repository.framing import ENTRY, untwin
from holdfast.repository.index_objects import decode_index_object
from holdfast.repository.packing import PACK_BYTES
from holdfast.repository.packs import DATA
from holdfast.repository.records import MAXIMUM_RECORD_BYTES
from tests.support.disks import CapturedModel, whole
from tests.support.repositories import back_up_disks, check, new_repository, restored
from tests.support.storage import RecordingStorage


def private_memory() -> int:
    """Bytes of anonymous memory that this process has touched."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def single_blocks(count: int) -> bytes:
    """Blocks of data that compress to nearly nothing, each its own segment since zeros follow it."""
    return b"".join(b"%08d" % number * 512 + bytes(4096) for number in range(count))


def test_a_pack_counts_its_tables_so_that_tiny_segments_do_not_make_it_huge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 256 * 1024)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    repository = new_repository()
    content = single_blocks(8000)
    point = back_up_disks(repository, [whole(content)]).point
    sizes = [stored.size for stored in repository.storage.list("packs/")]
    assert len(sizes) > 2
    assert max(sizes) < 256 * 1024 + MAXIMUM_RECORD_BYTES
    assert restored(repository, point) == content


def test_an_index_object_is_made_before_its_tables_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 64 * 1024)
    monkeypatch.setattr("holdfast.repository.uploading.SEGMENTS_PER_INDEX_OBJECT", 1000)
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
    repository = new_repository()
    point = back_up_disks(repository, [whole(single_blocks(6000))]).point
    names = [stored.name for stored in repository.storage.list("index/")]
    objects = [decode_index_object(repository.keys, repository.storage.get(name), name).packs for name in names]
    counts = [sum(len(pack.table.ids) for pack in packs) for packs in objects]
    assert sum(counts) >= 6000
    assert max(counts) < 1000 + 64 * 1024 // 36
    assert restored(repository, point) == single_blocks(6000)


def test_every_pack_that_is_put_is_listed_once_and_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 64 * 1024)
    monkeypatch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 3)
    storage = RecordingStorage(MemoryStorage())
    repository = new_repository(storage)
    for seed in range(3):
        storage.operations.clear()
        back_up_disks(repository, [whole(random.Random(seed).randbytes(9_000_000))])
        put = [operation for operation in storage.operations if operation.kind == "put"]
        listed: list[str] = []
        for operation in put:
            if operation.name.startswith("index/"):
                packs = decode_index_object(repository.keys, storage.inner.get(operation.name), operation.name).packs
                durable = {other.name for other in put if other.ended < operation.begun}
                assert {pack.object for pack in packs} <= durable, "an index object came before a pack it lists"
                listed += [pack.object for pack in packs]
        packs_put = [operation.name for operation in put if operation.name.startswith("packs/")]
        assert sorted(listed) == sorted(packs_put)
        assert len(packs_put) > 6
        commit = put[-1]
        assert commit.name.startswith("log/")
        assert all(operation.ended < commit.begun for operation in put[:-1]), "the commit came before what it needs"


def test_a_pack_that_is_begun_takes_memory_only_as_far_as_it_is_filled() -> None:
    repository = new_repository()
    with closing(repository.begin()) as attempt:
        gc.collect()
        before = private_memory()
        packs = [attempt.new_pack(DATA) for _ in range(6)]
        for pack in packs:
            pack.add(b"x" * 4096, [(bytes(32), 4096)])
        assert private_memory() - before < PACK_BYTES // 4


class Forgetful:
    """A compressor on a computer whose memory fails."""

    def compress(self, plain: bytes) -> bytes:
        return zstandard.ZstdCompressor().compress(bytes(len(plain)))


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_what_does_not_decompress_to_what_went_in_is_never_stored(share: float) -> None:
    """As far as it is looked at: the share is the user's to choose."""
    repository = new_repository()
    with closing(repository.begin(share)) as attempt:
        pack = attempt.new_pack(DATA)
        pack._compressor = Forgetful()  # type: ignore[assignment]
        if share:
            with pytest.raises(FailedError, match="memory or processor") as caught:
                pack.add(b"content" * 100, [(bytes(32), 700)])
            assert caught.value.code == "self-check"
        else:
            pack.add(b"content" * 100, [(bytes(32), 700)])


def test_no_two_packs_or_index_objects_or_entries_share_a_salt() -> None:
    """The salt makes the key, and nonces count from zero."""
    repository = new_repository()
    for seed in range(6):
        back_up_disks(repository, [whole(random.Random(seed).randbytes(50_000))])
    objects = dict(repository.storage.list(""))
    salts = [repository.storage.get(name)[32:64] for name in objects if name.startswith(("packs/", "index/"))]
    entries = [unframe_first(repository.storage.get(name)) for name in objects if name.startswith("log/")]
    salts += [bytes.fromhex(json.loads(entry.partition(b"\n")[0])["salt"]) for entry in entries]
    assert len(salts) == 6 * 3 + 7
    assert len(set(salts)) == len(salts)
    assert bytes(32) not in salts


def unframe_first(blob: bytes) -> bytes:
    return untwin(ENTRY, blob, "entry").payload


def test_what_a_backup_says_it_stored_is_by_how_much_the_repository_grew() -> None:
    repository = new_repository()
    for seed in range(4):
        before = sum(stored.size for stored in repository.storage.list(""))
        outcome = back_up_disks(
            repository, [whole(random.Random(seed // 2).randbytes(400_000))], definition=b"x" * seed
        )
        after = sum(stored.size for stored in repository.storage.list(""))
        assert outcome.stored_bytes == after - before


def test_equal_content_in_a_disk_is_stored_and_sent_once() -> None:
    repository = new_repository()
    piece = random.Random(1).randbytes(4 * 1024 * 1024)
    content = piece * 4
    disk = CapturedModel(name="vda", content=content, held=[Extent(0, len(content))])
    outcome = back_up_disks(repository, [disk])
    assert outcome.sent_bytes < 1.1 * len(piece)
    assert outcome.read_bytes == len(content)
    assert restored(repository, outcome.point) == content
    assert check(repository).ok
