"""Making packs durable: a few threads per attempt put them, and index objects over them, in the order that counts."""

import queue
import threading
from collections.abc import Callable
from typing import Final

from holdfast.repository.index_objects import SEGMENTS_PER_INDEX_OBJECT, encode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packing import Buffers, SealedPack
from holdfast.repository.packs import Pack
from holdfast.repository.storage.port import Bytes, Storage

PACKS_PER_INDEX_OBJECT: Final = 64
"""At most, which is about 2 GiB: a first full that is killed has lost no more than that when it is run again."""
_FEWEST_PACKS: Final = 4
_SHARE: Final = 8
"""Packs are listed when they are an eighth of those listed before: early enough that others who store the same can
see them, and that a slow line has not sent them in vain, late enough that a long full makes some dozen index objects.
"""


class Uploader:
    """Takes sealed packs from many lanes; bounded, so that lanes wait for a slow storage.

    As many packs are on their way at a time as the storage asks for. What becomes durable is listed by whichever thread
    finds that it is time; `published` is told of each index object and what it lists.
    """

    def __init__(
        self, storage: Storage, keys: Keys, base: int, verify_share: float, published: Callable[[str, list[Pack]], None]
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._base = base
        self._verify_share = verify_share
        self._published = published
        self._waiting: queue.Queue[SealedPack | None] = queue.Queue(maxsize=1)
        self.buffers = Buffers()
        self._lock = threading.Lock()
        self._unlisted: list[Pack] = []
        self._listed = 0
        self._failure: BaseException | None = None
        self.stored_bytes = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"uploader-{number}", daemon=True)
            for number in range(storage.puts_at_once)
        ]
        for thread in self._threads:
            thread.start()

    def hand_over(self, sealed: SealedPack) -> None:
        """Queue a pack; waits while another is waiting. Raises what an earlier upload failed with."""
        self._raise_failure()
        self._waiting.put(sealed)

    def drain(self) -> None:
        """Everything handed over is durable and listed in a durable index object. Raises what failed."""
        self._waiting.join()
        self._raise_failure()
        self._publish(self._take_unlisted())

    def stop(self) -> None:
        """End the threads; what is still queued is put all the same, or has failed."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def put(self, name: str, parts: list[Bytes], verify_share: float = 1.0) -> None:
        """Put one object and count it."""
        self._storage.put(name, parts, verify_share=verify_share)
        with self._lock:
            self.stored_bytes += sum(map(len, parts))

    def _run(self) -> None:
        while (sealed := self._waiting.get()) is not None:
            try:
                if self._failure is None:
                    self._upload(sealed)
            except BaseException as failure:  # noqa: BLE001 - raised again where the lanes and flush can see it
                self._failure = failure
            finally:
                self.buffers.give_back(sealed.buffer)
                self._waiting.task_done()

    def _upload(self, sealed: SealedPack) -> None:
        self.put(sealed.pack.object, list(sealed.parts), self._verify_share)
        with self._lock:
            self._unlisted.append(sealed.pack)
            due = self._due()
        if due:
            self._publish(self._take_unlisted())

    def _due(self) -> bool:
        packs, segments = len(self._unlisted), sum(len(pack.table.ids) for pack in self._unlisted)
        return (
            packs >= min(max(_FEWEST_PACKS, self._listed // _SHARE), PACKS_PER_INDEX_OBJECT)
            or segments >= SEGMENTS_PER_INDEX_OBJECT
        )

    def _take_unlisted(self) -> list[Pack]:
        with self._lock:
            packs, self._unlisted = self._unlisted, []
            self._listed += len(packs)
        return packs

    def _publish(self, packs: list[Pack]) -> None:
        """List packs that no index object lists yet; only then may anything refer to what they hold."""
        if packs:
            name, blob = encode_index_object(self._keys, self._base, packs)
            self.put(name, [blob])
            self._published(name, packs)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
