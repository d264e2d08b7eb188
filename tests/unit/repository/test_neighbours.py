"""Claims between processes are hints: they spare work while all goes well, and cost only work when it does not."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3

from holdfast.core.errors import FailedError
from holdfast.core.extents import Extent
from holdfast.core.ports import BlockReader
from holdfast.repository import Attempt, MemoryStorage, Repository, open_repository
from holdfast.repository.neighbours import Neighbours
from tests.support.disks import CapturedModel, whole
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, check, new_repository, restored

CONTENT = random.Random(1).randbytes(2_000_000)
REGION = random.Random(2).randbytes(SMALL_CUT.region_bytes)
AFTERWARDS = random.Random(3).randbytes(SMALL_CUT.region_bytes)
IDS = [random.Random(number).randbytes(32) for number in range(50)]


@pytest.fixture
def at_work(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "at-work"


@pytest.fixture
def pair(at_work: Path) -> Iterator[tuple[Neighbours, Neighbours]]:
    with closing(Neighbours(at_work)) as one, closing(Neighbours(at_work)) as other:
        yield one, other


def test_what_one_has_claimed_the_other_is_told(pair: tuple[Neighbours, Neighbours]) -> None:
    one, other = pair
    assert one.claim(IDS[:30]) == set()
    assert other.claim(IDS[20:]) == set(IDS[20:30])
    assert one.claim(IDS) == set(IDS[30:])
    assert one.are_at_work(IDS[30:])
    assert not one.are_at_work(IDS[:30])


def test_who_has_ended_claims_nothing(pair: tuple[Neighbours, Neighbours], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.neighbours._BELIEVED_S", 0.0)
    one, other = pair
    one.claim(IDS)
    assert other.are_at_work(IDS)
    one.close()
    assert not other.are_at_work(IDS)
    assert other.claim(IDS) == set()


def test_a_process_that_was_killed_claims_nothing_and_its_place_is_swept(at_work: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from holdfast.repository.neighbours import Neighbours;"
        "Neighbours(Path(sys.argv[1])).claim([bytes([9]) * 32]); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, at_work], check=False)
    assert len(list(at_work.iterdir())) == 2
    with closing(Neighbours(at_work)) as other:
        assert other.claim([bytes([9]) * 32]) == set()
        assert len(list(at_work.iterdir())) == 2, "its own place and the table"


def test_where_nothing_can_be_kept_there_are_no_neighbours(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with closing(Neighbours(tmp_path / "file" / "below")) as alone:
        assert alone.claim(IDS) == set()
        assert not alone.are_at_work(IDS)


def test_a_table_of_rubbish_is_nobodys_claims(at_work: Path) -> None:
    with closing(Neighbours(at_work)) as one:
        (at_work / "claims").write_bytes(os.urandom(1 << 20))
        assert one.claim(IDS) == set()


class Fleet:
    """Processes of one host that have one repository open, as far as claims go."""

    def __init__(self, cache: Path, storage: MemoryStorage | None = None) -> None:
        self.storage = storage or MemoryStorage()
        self.cache = cache
        new_repository(self.storage, SMALL_CUT)

    def process(self) -> Repository:
        return open_repository(self.storage, PASSPHRASE, self.cache)

    def stored(self) -> int:
        return sum(len(blob) for name, blob in self.storage.objects.items() if name.startswith("packs/"))


def test_two_processes_that_back_up_equal_machines_at_once_store_them_once(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    started = threading.Barrier(2)

    def together(offset: int, length: int) -> None:
        if offset == 0:
            started.wait(10)

    def protect(name: str) -> None:
        back_up_disks(fleet.process(), [whole(CONTENT, fault=together)], machine=name)

    threads = [threading.Thread(target=protect, args=(name,)) for name in ("web", "db")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points = fleet.process().points()
    assert len(points) == 2
    assert fleet.stored() < len(CONTENT) * 1.5, "alone each would store all of it"
    assert all(restored(fleet.process(), point) == CONTENT for point in points)
    assert check(fleet.process()).ok


@pytest.mark.parametrize("fate", ["fails", "stalls"])
def test_what_a_neighbour_does_not_bring_home_is_stored_after_all(
    fate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.sharing._NEIGHBOUR_PATIENCE_S", 0.5)
    monkeypatch.setattr("holdfast.repository.neighbours._BELIEVED_S", 0.0)
    fleet = Fleet(tmp_path)
    made: list[object] = []

    def halfway(offset: int, length: int) -> None:
        if offset > len(CONTENT) // 2 and not made:
            made.append(None)
            made.append(back_up_disks(fleet.process(), [whole(CONTENT)], machine="db"))
            if fate == "fails":
                raise FailedError("the disk is gone")

    try:
        back_up_disks(fleet.process(), [whole(CONTENT, fault=halfway)])
    except FailedError:
        assert fate == "fails"
    for point in fleet.process().points():
        assert restored(fleet.process(), point) == CONTENT
    assert len(fleet.process().points()) == (1 if fate == "fails" else 2)
    assert check(fleet.process()).ok


class ReadsOnce:
    """A block device: a region that is read a second time reads otherwise."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._seen: set[int] = set()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset in self._seen:
            buffer[:] = AFTERWARDS[: len(buffer)]
        else:
            self._seen.add(offset)
            buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


class UnsteadyDisk(CapturedModel):
    device = ReadsOnce(b"")

    def open_reader(self) -> BlockReader:
        return self.device


def test_two_regions_of_one_content_beside_a_neighbour_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lane meets an id while the first is still asking whether a neighbour is storing it."""
    monkeypatch.setattr("holdfast.mover.pool.worker_count", lambda: 2)
    monkeypatch.setattr("holdfast.repository.sharing._NEIGHBOUR_PATIENCE_S", 0.2)
    monkeypatch.setattr("holdfast.repository.neighbours._BELIEVED_S", 0.0)
    fleet = Fleet(tmp_path)
    repository = fleet.process()
    dying = Neighbours(tmp_path / repository.id / "at-work")
    blocks, block, key = memoryview(REGION), SMALL_CUT.block_bytes, repository.keys.data_id_key
    pieces = repository.cutter.cut(repository.cutter.words(blocks))
    dying.claim([blake3(blocks[each.start * block : each.end * block], key=key).digest() for each in pieces])
    claim, flush = Neighbours.claim, Attempt.flush

    def slowly(self: Neighbours, ids: Sequence[bytes]) -> set[bytes]:
        time.sleep(0.5)
        return claim(self, ids)

    def once_it_is_dead(self: Attempt) -> set[Hashable]:
        dying.close()
        return flush(self)

    monkeypatch.setattr(Neighbours, "claim", slowly)
    monkeypatch.setattr(Attempt, "flush", once_it_is_dead)
    disk = UnsteadyDisk(name="vda", content=REGION * 2, held=[Extent(0, 2 * len(REGION))])
    disk.device = ReadsOnce(REGION * 2)
    point = back_up_disks(repository, [disk]).point
    content = restored(fleet.process(), point)
    assert {content[: len(REGION)], content[len(REGION) :]} <= {REGION, AFTERWARDS}
