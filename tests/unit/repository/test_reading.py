"""Reading in runs brings exactly what is wanted to exactly where it belongs, or says what it could not bring."""

import os
from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.repository import Layout, Repository, RunReader, plan_reads
from holdfast.repository.index_objects import encode_index_object
from holdfast.repository.packing import BUFFER_BYTES, PackBuilder
from holdfast.repository.packs import DATA
from tests.support.repositories import reopened

BLOCK = 4096
PLACE = tuple[bytes, int, int]


def id_of(repository: Repository, content: bytes) -> bytes:
    return blake3(content, key=repository.keys.data_id_key).digest()


def put_pack(repository: Repository, *records: Sequence[tuple[bytes, bytes]]) -> str:
    """A pack whose records hold these (id, content) pairs; the name of its object."""
    builder = PackBuilder(repository.keys, DATA, memoryview(bytearray(BUFFER_BYTES)), 0.0)
    for record in records:
        builder.add(b"".join(content for _, content in record), [(wanted, len(content)) for wanted, content in record])
    sealed = builder.seal()
    repository.storage.put(sealed.pack.object, list(sealed.parts))
    name, blob = encode_index_object(repository.keys, 1, [sealed.pack])
    repository.storage.put(name, [blob])
    return sealed.pack.object


def layout_of(places: Sequence[PLACE]) -> Layout:
    """A layout from (id, start, length)."""
    ids = np.frombuffer(b"".join(wanted for wanted, _, _ in places), np.uint8).reshape(-1, 32)
    starts = np.array([start for _, start, _ in places], np.int64)
    return Layout(ids, starts, np.array([length for _, _, length in places], np.int64))


def rows_of(layout: Layout) -> list[PLACE]:
    return [(row.tobytes(), int(start), int(length)) for row, start, length in zip(*layout, strict=True)]


def read_all(repository: Repository, places: Sequence[PLACE]) -> tuple[list[tuple[int, bytes]], list[PLACE]]:
    """What a fresh reader brings, and what it says it could not bring."""
    fresh = reopened(repository)
    fresh.records.load_index()
    runs, lost = plan_reads(fresh.records.index, layout_of(places))
    reader = RunReader(fresh.records, fresh.keys.data_id_key)
    good: list[tuple[int, bytes]] = []
    missed = rows_of(lost)
    for run in runs:
        for batch in reader.read(run):
            good += [(plain.start, bytes(plain.content)) for plain in batch.good]
            missed += rows_of(run.layout.only(np.array(batch.damaged, np.int64)))
    return sorted(good), sorted(missed)


def test_neighbours_in_a_record_and_on_the_disk_come_as_one(repository: Repository) -> None:
    parts = [os.urandom(BLOCK) for _ in range(4)]
    named = [(id_of(repository, part), part) for part in parts]
    put_pack(repository, named[:2], named[2:])
    places = [(wanted, at * BLOCK, BLOCK) for at, (wanted, _) in zip((0, 1, 2, 9), named, strict=True)]
    good, missed = read_all(repository, places)
    assert good == [(0, b"".join(parts[:3])), (9 * BLOCK, parts[3])]
    assert missed == []


def test_a_segment_goes_to_every_place_that_wants_it_and_never_past_the_end(repository: Repository) -> None:
    part = os.urandom(BLOCK)
    wanted = id_of(repository, part)
    put_pack(repository, [(wanted, part)])
    good, missed = read_all(repository, [(wanted, 0, BLOCK), (wanted, 7 * BLOCK, BLOCK), (wanted, 9 * BLOCK, 100)])
    assert good == [(0, part), (7 * BLOCK, part), (9 * BLOCK, part[:100])]
    assert missed == []


def test_what_is_not_what_its_id_says_is_not_brought_to_any_place(repository: Repository) -> None:
    right, wrong = os.urandom(BLOCK), os.urandom(BLOCK)
    wanted, other = id_of(repository, right), id_of(repository, wrong)
    put_pack(repository, [(wanted, wrong), (other, wrong)])
    places = [(wanted, 0, BLOCK), (wanted, 5 * BLOCK, BLOCK), (other, BLOCK, BLOCK)]
    good, missed = read_all(repository, places)
    assert good == [(BLOCK, wrong)]
    assert missed == sorted(places[:2])


def test_what_has_no_place_is_said(repository: Repository) -> None:
    part = os.urandom(BLOCK)
    wanted = id_of(repository, part)
    put_pack(repository, [(wanted, part)])
    good, missed = read_all(repository, [(bytes(32), 0, BLOCK), (wanted, BLOCK, BLOCK)])
    assert (good, missed) == ([(BLOCK, part)], [(bytes(32), 0, BLOCK)])


def test_a_record_larger_than_any_may_be_hurts_nothing_but_itself(repository: Repository) -> None:
    large, part = bytes(300 * 1024), os.urandom(BLOCK)
    bomb, wanted = id_of(repository, large), id_of(repository, part)
    put_pack(repository, [(bomb, large)], [(wanted, part)])
    good, missed = read_all(repository, [(bomb, 0, len(large)), (wanted, len(large), BLOCK)])
    assert (good, missed) == ([(len(large), part)], [(bomb, 0, len(large))])


def test_a_pack_that_is_gone_is_missed_and_the_others_are_brought(repository: Repository) -> None:
    parts = [os.urandom(BLOCK) for _ in range(2)]
    named = [(id_of(repository, part), part) for part in parts]
    gone, _ = [put_pack(repository, [each]) for each in named]
    repository.storage.delete(gone)
    places = [(wanted, at * BLOCK, BLOCK) for at, (wanted, _) in enumerate(named)]
    good, missed = read_all(repository, places)
    assert (good, missed) == ([(BLOCK, parts[1])], [places[0]])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_layout_is_brought_to_its_places(repository: Repository, data: st.DataObject) -> None:
    """More than fits into the reader's memory at once, in any order, with gaps, repeats and a short end."""
    records = data.draw(st.lists(st.lists(st.integers(1, 15), min_size=1, max_size=4), min_size=1, max_size=40))
    contents = [[os.urandom(blocks * BLOCK) for blocks in record] for record in records]
    named = [[(id_of(repository, content), content) for content in record] for record in contents]
    put_pack(repository, *named)
    chosen = data.draw(
        st.lists(st.sampled_from([each for record in named for each in record]), min_size=1, max_size=60)
    )
    places, expected, at = [], {}, 0
    for wanted, content in chosen:
        at += BLOCK * data.draw(st.integers(0, 1))
        places.append((wanted, at, len(content)))
        expected[at] = content
        at += len(content)
    wanted, start, length = places[-1]
    places[-1] = (wanted, start, length - 1000)
    expected[start] = expected[start][:-1000]
    good, missed = read_all(repository, data.draw(st.permutations(places)))
    assert missed == []
    brought = bytearray(at)
    for start, content in good:
        assert brought[start : start + len(content)] == bytes(len(content))
        brought[start : start + len(content)] = content
    for start, content in expected.items():
        assert brought[start : start + len(content)] == content
    assert sum(len(content) for _, content in good) == sum(map(len, expected.values()))
