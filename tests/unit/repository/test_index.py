"""The index: what it finds, and how little of it lies in memory."""

import threading
from io import BytesIO
from random import Random

import numpy as np
import pytest

from holdfast.repository import merging
from holdfast.repository.index import MEMORY_ENTRIES, Index, Place, plan_merge
from holdfast.repository.index_objects import Listing
from holdfast.repository.merging import Source, merge, run_of
from holdfast.repository.runs import MAXIMUM_ROWS, Run
from tests.support.indexes import REPOSITORY, a_pack, ids_in, packs_of


def test_ids_that_share_8_or_16_or_31_bytes_are_told_apart() -> None:
    source = Random(1)
    families = [source.randbytes(common) for common in (8, 16, 24, 31) for _ in range(5)]
    stored = [start + source.randbytes(32 - len(start)) for start in families for _ in range(3)]
    others = [start + bytes(32 - len(start)) for start in families]
    assert not set(others) & set(stored)
    index = Index()
    packs = [a_pack(source.randbytes(32).hex(), stored[at::4]) for at in range(4)]
    for number, pack in enumerate(packs):
        index.take([Listing(f"index/{number}", 0, [pack])])
    assert (index.places(others) == -1).all()
    for wanted, place in zip(stored, index.places(stored).tolist(), strict=True):
        assert index.packs[place[0]].table.ids[place[1]].tobytes() == wanted
        assert index.copies(wanted) == [Place(*place)]
    assert not any(map(index.copies, others))


def test_ids_at_the_ends_of_what_there_is_are_found() -> None:
    """What fills the last block of keys is as large as a key can be."""
    ends = [bytes(32), b"\xff" * 32, b"\xff" * 8 + bytes(24)]
    for count in (0, 60, 61, 62, 125):
        index = Index()
        assert (index.places(ends) == -1).all()
        index.add(packs_of(1, 1, count))
        assert (index.places(ends) == -1).all()
        index.add([a_pack("ab" * 32, ends)])
        assert index.places(ends)[:, 1].tolist() == [0, 1, 2]


def test_of_several_copies_the_newest_is_given_and_all_are_known() -> None:
    wanted = bytes(range(32))
    index = Index()
    names = [f"{number:064x}" for number in range(20)]
    for name in names:
        index.take([Listing(f"index/{name}", 0, [a_pack(name, [wanted])])])
        assert index.packs[int(index.places([wanted])[0, 0])].name == name
    assert sorted(index.packs[place.pack].name for place in index.copies(wanted)) == names


def test_a_dropped_pack_is_never_a_hit_and_its_number_still_tells_its_name() -> None:
    packs = packs_of(1, 3, 10)
    index = Index()
    index.take([Listing("index/1", 0, packs[:2])])
    numbers = index.places(ids_in(packs[:2]))[:, 0]
    index.drop([packs[0].name, packs[2].name])
    index.take([Listing("index/2", 0, packs[1:])])
    assert (index.places(ids_in([packs[0], packs[2]])) == -1).all()
    assert (index.places(ids_in([packs[1]]))[:, 0] >= 0).all()
    assert not any(map(index.copies, ids_in([packs[0]])))
    assert [pack.name for pack in index.packs] == [pack.name for pack in packs]
    assert index.packs[int(numbers[0])].name == packs[0].name
    assert not index.knows_pack(packs[0].name)
    assert index.number_of(packs[1].name) == numbers[10]


def test_a_pack_that_two_index_objects_list_is_one_pack() -> None:
    packs = packs_of(1, 2, 10)
    index = Index()
    index.take([Listing("index/1", 0, packs)])
    index.take([Listing("index/2", 0, [packs[1], packs[1]])])
    assert len(index.packs) == 2
    assert all(len(index.copies(wanted)) == 1 for wanted in ids_in(packs))


def test_a_lost_a_short_and_a_foreign_pack_are_told_from_one_that_is_there() -> None:
    packs = packs_of(1, 3, 10)
    index = Index()
    index.take([Listing("index/1", 0, packs)])
    listed = [(pack.object, pack.size) for pack in packs]
    assert not index.missing_from([*listed, ("packs/ab/x", 1), (f"packs/aa/{'ab' * 32}", 5)])
    assert [pack.name for pack in index.missing_from(listed[1:])] == [packs[0].name]
    cut_short = [(packs[0].object, packs[0].size - 1), *listed[1:]]
    assert [pack.name for pack in index.missing_from(cut_short)] == [packs[0].name]
    index.drop([packs[0].name])
    assert index.missing_from(listed[1:]) == []


def test_what_is_added_leaves_memory_for_files() -> None:
    index = Index(memory_entries=100)
    packs = packs_of(1, 60, 30)
    for number, pack in enumerate(packs):
        index.take([Listing(f"index/{number}", 0, [pack])])
        assert sum(len(run.ids) for run in index._runs if run.in_memory) <= 100
        assert len(index._runs) <= 8
    assert (index.places(ids_in(packs))[:, 0] >= 0).all()
    assert MEMORY_ENTRIES * 52 < 16 << 20


def test_a_merge_in_many_stretches_is_one_in_a_single_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run_of(REPOSITORY, [Source(bytes(32), 1, packs_of(seed, 3, 97))]) for seed in range(4)]
    runs.append(run_of(REPOSITORY, [Source(bytes(32), 1, [])]))
    merged = []
    for at_once in (1 << 20, 10):
        monkeypatch.setattr(merging, "_MERGED_AT_ONCE", at_once)
        out = BytesIO()
        merge(runs, REPOSITORY, out)
        merged.append(out.getvalue())
    assert merged[0] == merged[1]
    run = Run(merged[0], REPOSITORY)
    assert (np.diff(run.keys.astype(object)) > 0).all()
    assert (run.ids[run.rows, 0] == run.keys).all()


def test_a_merge_leaves_out_what_no_index_object_lists_any_more() -> None:
    kept, gone = packs_of(1, 3, 40), packs_of(2, 3, 40)
    first, second = BytesIO(), BytesIO()
    merge(
        [run_of(REPOSITORY, [Source(b"a" * 32, 1, gone)]), run_of(REPOSITORY, [Source(b"b" * 32, 7, kept)])],
        REPOSITORY,
        first,
    )
    run = Run(first.getbuffer(), REPOSITORY)
    run.void[:] = [True, False]
    merge([run], REPOSITORY, second)
    left = Run(second.getbuffer(), REPOSITORY)
    assert [source["name"].tobytes() for source in left.sources] == [b"b" * 32]
    assert left.sources["base"].tolist() == [7]
    assert [left.pack(at).name for at in range(len(left.packs))] == [pack.name for pack in kept]
    assert [left.pack(at).table.encode() for at in range(3)] == [pack.table.encode() for pack in kept]
    assert len(left.keys) == 120


@pytest.mark.parametrize("sizes", [[1] * 9, [2**number for number in range(9)][::-1], [100, *[1] * 8], [5, 4, 3] * 3])
def test_a_merge_leaves_at_most_eight_runs_and_moves_no_large_run_for_a_small_one(sizes: list[int]) -> None:
    first = plan_merge(sizes)
    assert len(sizes[:first]) < 8
    moved = sizes[first:]
    assert len(moved) > 1
    assert moved[0] <= sum(moved[1:]) or len(moved) == 2
    assert plan_merge(sizes[:8]) == 8


def test_no_merge_makes_a_run_with_more_rows_than_a_row_can_count() -> None:
    half = MAXIMUM_ROWS // 2
    assert plan_merge([half] * 9) == 9
    assert plan_merge([half, *[1] * 8]) == 1


def test_an_entry_is_moved_a_few_times_however_many_are_added() -> None:
    sizes: list[int] = []
    moved = 0
    for _ in range(1000):
        sizes.append(1)
        first = plan_merge(sizes)
        if first < len(sizes):
            moved += sum(sizes[first:])
            sizes[first:] = [sum(sizes[first:])]
    assert moved / 1000 < 8


def test_readers_find_everything_while_runs_are_merged_below_them() -> None:
    packs = packs_of(1, 400, 20)
    index = Index(memory_entries=500)
    index.take([Listing("index/first", 0, packs[:10])])
    wanted = ids_in(packs[:10])
    expected = index.places(wanted).tolist()
    over = threading.Event()
    wrong: list[list[list[int]]] = []

    def read() -> None:
        while not over.is_set():
            if (found := index.places(wanted).tolist()) != expected:
                wrong.append(found)
            if any(index.packs[place[0]].table.ids[place[1]].tobytes() != wanted[0] for place in found[:1]):
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number, pack in enumerate(packs[10:]):
        index.take([Listing(f"index/{number}", 0, [pack])])
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
