"""What is read is proved by its id and held to its size, even if whoever wrote it had the keys and was wrong."""

import os

import pytest
from blake3 import blake3

from holdfast.repository import BlockMissingError, Repository
from holdfast.repository.index_objects import encode_index_object
from holdfast.repository.packing import BUFFER_BYTES, PackBuilder
from holdfast.repository.packs import DATA, NODES
from tests.support.disks import whole
from tests.support.repositories import back_up_disks, reopened, restored


def put_pack(repository: Repository, *records: tuple[bytes, list[tuple[bytes, int]]]) -> str:
    """A pack of these records, whatever they claim to hold, listed in an index object. Returns its object's name."""
    builder = PackBuilder(repository.keys, DATA, memoryview(bytearray(BUFFER_BYTES)), 0.0)
    for plain, segments in records:
        builder.add(plain, segments)
    sealed = builder.seal()
    repository.storage.put(sealed.pack.object, list(sealed.parts))
    name, blob = encode_index_object(repository.keys, 1, [sealed.pack])
    repository.storage.put(name, [blob])
    return sealed.pack.object


def id_of(repository: Repository, content: bytes) -> bytes:
    return blake3(content, key=repository.keys.data_id_key).digest()


def test_a_segment_that_is_not_what_its_id_says_is_no_copy_of_it(repository: Repository) -> None:
    wanted = id_of(repository, b"right" * 100)
    put_pack(repository, (b"wrong" * 100, [(wanted, 500)]))
    fresh = reopened(repository)
    fresh.records.load_index()
    with pytest.raises(BlockMissingError) as caught:
        fresh.records.read(wanted, fresh.keys.data_id_key)
    assert caught.value.block == wanted
    put_pack(repository, (b"right" * 100, [(wanted, 500)]))
    assert fresh.records.read(wanted, fresh.keys.data_id_key) == b"right" * 100


def test_a_record_larger_than_any_may_be_is_not_decompressed(repository: Repository) -> None:
    content = bytes(300 * 1024)
    wanted = id_of(repository, content)
    put_pack(repository, (content, [(wanted, len(content))]))
    fresh = reopened(repository)
    with pytest.raises(BlockMissingError):
        fresh.records.read(wanted, fresh.keys.data_id_key)


def test_each_of_many_segments_of_a_record_is_found_in_its_place(repository: Repository) -> None:
    parts = [os.urandom(size) for size in (1, 4096, 77, 100_000, 5)]
    segments = [(id_of(repository, part), len(part)) for part in parts]
    put_pack(repository, (b"".join(parts[:2]), segments[:2]), (b"".join(parts[2:]), segments[2:]))
    fresh = reopened(repository)
    for part, (wanted, _) in zip(parts, segments, strict=True):
        assert fresh.records.read(wanted, fresh.keys.data_id_key) == part


def test_data_and_nodes_are_never_taken_for_each_other(repository: Repository) -> None:
    """A guest that stores a node's bytes in its disk makes no node of them."""
    point = back_up_disks(repository, [whole(b"holdfast " * 5000)]).point
    node = bytes.fromhex(point.disks[0].root)
    plain = repository.records.read(node, repository.keys.node_id_key)
    guest = back_up_disks(repository, [whole(plain)], machine="guest").point
    assert restored(repository, guest) == plain
    assert id_of(repository, plain) != node
    kinds = {pack.header.type for pack in repository.records.index.packs}
    assert kinds == {DATA, NODES}
    for pack in repository.records.index.packs:
        ids = {row.tobytes() for row in pack.table.ids}
        assert (node in ids) <= (pack.header.type == NODES)
