"""The index's cache on disk: it saves reading, it may be damaged, shared, stale or forbidden, and nothing is wrong."""

import random
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from holdfast.repository import MemoryStorage, Repository, merging, open_repository
from holdfast.repository import cache as cache_module
from holdfast.repository.cache import RunFiles, choose
from holdfast.repository.index import Index
from holdfast.repository.index_objects import Listing
from holdfast.repository.merging import Source, merge, run_of
from holdfast.repository.runs import Columns, Run, counts_of
from tests.support.disks import whole
from tests.support.indexes import REPOSITORY, ids_in, packs_of
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, restored
from tests.support.storage import RecordingStorage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.run"))


def opened(storage: MemoryStorage | RecordingStorage, cache: Path) -> Repository:
    repository = open_repository(storage, PASSPHRASE, cache)
    repository.records.load_index()
    return repository


def content(seed: int) -> bytes:
    return random.Random(seed).randbytes(300_000)


def a_repository(points: int = 3) -> MemoryStorage:
    repository = new_repository()
    for seed in range(points):
        back_up_disks(repository, [whole(content(seed))], machine=f"m{seed}")
    assert isinstance(repository.storage, MemoryStorage)
    return repository.storage


def index_reads(storage: RecordingStorage) -> list[str]:
    return storage.names("get", "index/")


def blank(file: Path, column: str, filling: int) -> None:
    """Overwrite one column, as a disk does that lost it."""
    blob = bytearray(file.read_bytes())
    columns = Columns(counts_of(blob, bytes(blob[8:24])))
    starts = sorted(
        [columns.records, columns.ids, columns.keys, columns.fence, columns.sizes, columns.rows, columns.end]
    )
    start = getattr(columns, column)
    end = starts[starts.index(start) + 1]
    blob[start:end] = bytes([filling]) * (end - start)
    file.unlink()
    file.write_bytes(blob)


def damage(file: Path, at: int) -> None:
    blob = bytearray(file.read_bytes())
    blob[at] ^= 1
    file.unlink()
    file.write_bytes(blob)


def merged(runs: Sequence[Run]) -> Run:
    out = BytesIO()
    merge(runs, REPOSITORY, out)
    return Run(out.getbuffer(), REPOSITORY)


def storage_id(storage: MemoryStorage) -> str:
    return open_repository(storage, PASSPHRASE).id


def test_with_a_cache_only_new_index_objects_are_read(cache: Path) -> None:
    storage = RecordingStorage(a_repository())
    opened(storage, cache)
    before = index_reads(storage)
    assert len(before) == 3
    again = opened(storage, cache)
    assert index_reads(storage) == before
    assert all(restored(again, point) == content(at) for at, point in enumerate(again.points()))
    back_up_disks(again, [whole(content(9))])
    opened(storage, cache)
    assert len(index_reads(storage)) == 4


def test_what_a_process_writes_is_not_read_again_by_itself(cache: Path) -> None:
    storage = RecordingStorage(a_repository(0))
    repository = opened(storage, cache)
    for seed in range(3):
        back_up_disks(repository, [whole(content(seed))])
    assert not index_reads(storage)


def test_an_index_object_that_is_gone_takes_its_packs_with_it(cache: Path) -> None:
    """As after a collection, or where an older copy of the repository was put back."""
    storage = a_repository()
    full = opened(storage, cache)
    first, *others = [stored.name for stored in storage.list("index/")]
    del storage.objects[first]
    fewer = opened(storage, cache)
    assert 0 < len(fewer.records.index.packs) < len(full.records.index.packs)
    assert not fewer.records.index.knows_source(first)
    for name in others:
        del storage.objects[name]
    assert len(opened(storage, cache).records.index.packs) == 0
    assert opened(storage, cache).records.base == 0, "a log is not held to what nobody lists"


@pytest.mark.parametrize("at", [0, 40, 90, 200])
def test_a_flipped_byte_in_a_header_or_a_list_makes_the_file_anew(cache: Path, at: int) -> None:
    storage = RecordingStorage(a_repository())
    opened(storage, cache)
    (file,) = files(cache)
    damage(file, at)
    before = len(index_reads(storage))
    assert len(opened(storage, cache).records.index.packs) == 6
    assert len(index_reads(storage)) == before + 3
    opened(storage, cache)
    assert len(index_reads(storage)) == before + 3


@pytest.mark.parametrize("filling", [0, 0xFF])
@pytest.mark.parametrize("column", ["records", "ids", "sizes", "keys", "fence", "rows"])
def test_a_damaged_column_never_costs_a_restore_and_is_made_anew(cache: Path, column: str, filling: int) -> None:
    storage = a_repository()
    opened(storage, cache)
    (file,) = files(cache)
    good = file.read_bytes()
    blank(file, column, filling)
    repository = opened(storage, cache)
    assert all(restored(repository, point) == content(at) for at, point in enumerate(repository.points()))
    opened(storage, cache)
    if column != "fence":  # of which a single block has no use
        assert [left.read_bytes() for left in files(cache)] == [good]


@pytest.mark.parametrize("filling", [0, 0xFF])
@pytest.mark.parametrize("column", ["ids", "keys", "fence", "rows"])
def test_a_damaged_column_hides_entries_and_never_invents_one(cache: Path, column: str, filling: int) -> None:
    storage = a_repository()
    index = opened(storage, cache).records.index
    known = [row.tobytes() for pack in index.packs for row in pack.table.ids]
    blank(files(cache)[0], column, filling)
    damaged = opened(storage, cache).records.index
    for wanted, place in zip(known, damaged.places(known).tolist(), strict=True):
        assert place[0] < 0 or damaged.packs[place[0]].table.ids[place[1]].tobytes() == wanted
    assert (damaged.places([bytes(32), b"\xff" * 32]) == -1).all()


@pytest.mark.parametrize("filling", [0, 0xFF])
@pytest.mark.parametrize("column", ["ids", "keys", "fence", "rows"])
def test_a_damaged_file_may_be_merged_and_hides_only_its_own(
    monkeypatch: pytest.MonkeyPatch, cache: Path, column: str, filling: int
) -> None:
    monkeypatch.setattr(merging, "_MERGED_AT_ONCE", 10)
    packs = packs_of(1, 40, 30)
    names = [f"index/{number}" for number in range(40)]
    writer = Index(RunFiles(cache / "index", REPOSITORY))
    for pack, name in zip(packs[:2], names, strict=False):
        writer.take([Listing(name, 0, [pack])])
    writer.save()
    blank(files(cache)[0], column, filling)
    index = Index(RunFiles(cache / "index", REPOSITORY), memory_entries=10)
    index.open(names)
    for pack, name in zip(packs[2:], names[2:], strict=True):
        index.take([Listing(name, 0, [pack])])
    assert (index.places(ids_in(packs[2:]))[:, 0] >= 0).all()
    for wanted, place in zip(ids_in(packs[:2]), index.places(ids_in(packs[:2])).tolist(), strict=True):
        assert place[0] < 0 or index.packs[place[0]].table.ids[place[1]].tobytes() == wanted


def test_numbers_that_were_given_still_name_their_packs_when_the_files_are_given_up(cache: Path) -> None:
    packs = packs_of(1, 3, 20)
    writer, index = (Index(RunFiles(cache / "index", REPOSITORY)) for _ in range(2))
    writer.take([Listing("index/1", 0, packs)])
    writer.save()
    index.open(["index/1"])
    index.drop([packs[2].name])
    numbers = index.places(ids_in(packs[:2]))[:, 0].tolist()
    assert index.from_cache
    index.start_anew()
    assert (index.places(ids_in(packs)) == -1).all()
    assert not index.knows_source("index/1")
    index.take([Listing("index/1", 0, packs)])
    again = index.places(ids_in(packs))[:, 0].tolist()
    named = [index.packs[number].name for number in numbers]
    assert (
        [index.packs[number].name for number in again[:40]]
        == named
        == [pack.name for pack in packs[:2] for _ in range(20)]
    )
    assert again[40:] == [-1] * 20, "dropped stays dropped"
    assert files(cache) == []


@pytest.mark.parametrize("make", [lambda place: place.write_text(""), lambda place: place.mkdir(mode=0o755)])
def test_a_place_that_cannot_be_used_or_that_others_can_look_into_is_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    storage = a_repository()
    (tmp_path / storage_id(storage)).mkdir()
    make(tmp_path / storage_id(storage) / "index")
    repository = opened(storage, tmp_path)
    assert files(tmp_path) == []
    assert restored(repository, repository.points()[0]) == content(0)


def test_only_the_user_can_read_the_cache(cache: Path) -> None:
    opened(a_repository(), cache)
    (file,) = files(cache)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_without_room_for_a_file_entries_stay_in_memory(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "open", refuse)
    index = Index(RunFiles(cache / "index", REPOSITORY), memory_entries=10)
    packs = packs_of(1, 30, 20)
    for number, pack in enumerate(packs):
        index.take([Listing(f"index/{number}", 0, [pack])])
    index.save()
    assert (index.places(ids_in(packs))[:, 0] >= 0).all()
    assert files(cache) == []


def test_what_is_left_of_two_merges_of_the_same_is_used_once(cache: Path) -> None:
    packs = packs_of(1, 4, 10)
    runs = [run_of(REPOSITORY, [Source(bytes([at]) * 32, 1, [pack])]) for at, pack in enumerate(packs)]
    large, other = (merged(runs[:3]), merged(runs[2:]))
    choice = choose([runs[0], other, large])
    assert choice.taken == [large]
    assert choice.superseded == [runs[0]], "the other's last source is read anew, and then it is superseded too"
    large.void[:] = True
    assert choose([large, other]).superseded == [large]


def test_a_file_that_is_replaced_while_it_is_mapped_still_serves(cache: Path) -> None:
    packs = packs_of(1, 12, 30)
    first = Index(RunFiles(cache / "index", REPOSITORY), memory_entries=10)
    names = [f"index/{number}" for number in range(12)]
    for pack, name in zip(packs[:8], names, strict=False):
        first.take([Listing(name, 0, [pack])])
    first.save()
    second = Index(RunFiles(cache / "index", REPOSITORY), memory_entries=10)
    second.open(names)
    for pack, name in zip(packs[8:], names[8:], strict=True):
        second.take([Listing(name, 0, [pack])])
    second.save()
    assert len(files(cache)) <= 8
    assert (first.places(ids_in(packs[:8]))[:, 0] >= 0).all()
    assert (second.places(ids_in(packs))[:, 0] >= 0).all()


SHARER = """
import sys
from pathlib import Path
from random import Random
from holdfast.repository.cache import RunFiles
from holdfast.repository.index import Index
from holdfast.repository.index_objects import Listing
from tests.support.indexes import REPOSITORY, ids_in, packs_of
packs = packs_of(1, 60, 20)
names = [f"index/{number}" for number in range(60)]
source = Random(sys.argv[2])
for _ in range(15):
    index = Index(RunFiles(Path(sys.argv[1]), REPOSITORY), memory_entries=source.choice([10, 100, 1000]))
    listed = source.sample(range(60), source.randrange(1, 60))
    index.open([names[at] for at in listed])
    for at in listed:
        if not index.knows_source(names[at]):
            index.take([Listing(names[at], at, [packs[at]])])
    index.save()
    present = ids_in([packs[at] for at in listed])
    absent = ids_in([packs[at] for at in set(range(60)) - set(listed)])
    assert (index.places(present)[:, 0] >= 0).all()
    assert not absent or (index.places(absent) == -1).all()
    assert {pack.name for pack in index.packs} == {packs[at].name for at in listed}
"""


def test_processes_that_share_a_cache_and_disagree_about_what_is_listed_each_find_what_is(cache: Path) -> None:
    sharers = [
        subprocess.Popen([sys.executable, "-c", SHARER, cache / "index", str(seed)], cwd=ROOT, stderr=subprocess.PIPE)
        for seed in range(4)
    ]
    told = [sharer.communicate(timeout=120)[1].decode() for sharer in sharers]
    assert told == [""] * 4
    assert {sharer.returncode for sharer in sharers} == {0}
    assert all(path.suffix == ".run" for path in (cache / "index").iterdir()), "a draft was left"


def test_a_killed_process_leaves_no_draft(cache: Path) -> None:
    killed = """
import os, sys
from pathlib import Path
from holdfast.repository.cache import RunFiles
def die(out):
    out.write(bytes(10_000_000))
    os.kill(os.getpid(), 9)
RunFiles(Path(sys.argv[1]), bytes(16)).keep(die)
"""
    done = subprocess.run([sys.executable, "-c", killed, cache / "index"], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert list((cache / "index").iterdir()) == []
