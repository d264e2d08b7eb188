"""Nodes come home in packs of their own, whatever the uploader is doing."""

import os
import threading
from collections.abc import Sequence
from time import sleep

import pytest

from holdfast.repository import KdfCost, MemoryStorage, create_repository
from holdfast.repository.storage.port import Bytes

NODES_EACH = 200


class SlowStorage(MemoryStorage):
    """Storage that takes its time, so that packs wait for each other."""

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        sleep(0.001)
        super().put(name, parts, verify_share=verify_share)


def test_threads_that_hand_over_nodes_never_wait_for_each_other_in_a_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.packing.PACK_BYTES", 4096)
    monkeypatch.setattr("holdfast.repository.uploading.PACKS_PER_INDEX_OBJECT", 1)
    monkeypatch.setattr("holdfast.repository.writer.NODE_RECORD_BYTES", 1)
    repository = create_repository(SlowStorage(), b"x", cost=KdfCost(memory_kib=64, iterations=1, lanes=1))
    attempt = repository.begin()
    put: list[bytes] = []

    def put_nodes() -> None:
        put.extend(attempt.put_node(os.urandom(1000)) for _ in range(NODES_EACH))

    threads = [threading.Thread(target=put_nodes, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "nodes wait for the uploader, which waits for the nodes"
    assert attempt.flush() == set()
    assert len(put) == 4 * NODES_EACH
    assert (repository.records.index.places(put)[:, 0] >= 0).all()
    attempt.close()
