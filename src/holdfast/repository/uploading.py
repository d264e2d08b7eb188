"""Making packs durable: one thread per attempt puts them, and index objects over them, in the order that counts."""

import mmap
import queue
import threading
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from holdfast.repository.index import Pack, encode_index_object
from holdfast.repository.keys import Keys
from holdfast.repository.packing import BUFFER_BYTES, SealedPack
from holdfast.repository.storage.port import Bytes, Storage

PACKS_PER_INDEX_OBJECT: Final = 64
"""About 2 GiB of packs: a first full that is killed has lost at most that much when it is run again."""
SEGMENTS_PER_INDEX_OBJECT: Final = 512 * 1024
"""About 20 MiB of tables, whatever a guest fills its disk with: index objects are made and read in memory."""


class Uploader:
    """Takes sealed packs from many lanes; bounded, so that lanes wait for a slow storage."""

    def __init__(
        self, storage: Storage, keys: Keys, base: int, verify_share: float, published: Callable[[list[Pack]], None]
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._base = base
        self._verify_share = verify_share
        self._published = published
        self._waiting: queue.Queue[SealedPack | None] = queue.Queue(maxsize=1)
        self._spare: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._unlisted: list[Pack] = []
        self._failure: BaseException | None = None
        self.stored_bytes = 0
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """A buffer for a pack: one that came back, else a new one, which takes memory only as far as it is filled."""
        try:
            return self._spare.get_nowait()
        except queue.Empty:
            return memoryview(mmap.mmap(-1, BUFFER_BYTES))

    def hand_over(self, sealed: SealedPack) -> None:
        """Queue a pack; waits while another is waiting. Raises what an earlier upload failed with."""
        self._raise_failure()
        self._waiting.put(sealed)

    def drain(self) -> None:
        """Everything handed over is durable and listed in a durable index object. Raises what failed."""
        self._waiting.join()
        self._raise_failure()
        self._publish()

    def stop(self) -> None:
        """End the thread; what is still queued is put all the same, or has failed."""
        self._waiting.put(None)
        self._thread.join()

    def put(self, name: str, parts: list[Bytes], verify_share: float = 1.0) -> None:
        """Put one object and count it."""
        self._storage.put(name, parts, verify_share=verify_share)
        self.stored_bytes += sum(map(len, parts))

    def _run(self) -> None:
        while (sealed := self._waiting.get()) is not None:
            try:
                if self._failure is None:
                    self._upload(sealed)
            except BaseException as failure:  # noqa: BLE001 - raised again where the lanes and flush can see it
                self._failure = failure
            finally:
                self._spare.put(sealed.buffer)
                self._waiting.task_done()

    def _upload(self, sealed: SealedPack) -> None:
        self.put(sealed.pack.object, list(sealed.parts), self._verify_share)
        self._unlisted.append(sealed.pack)
        segments = sum(len(pack.table.ids) for pack in self._unlisted)
        if len(self._unlisted) >= PACKS_PER_INDEX_OBJECT or segments >= SEGMENTS_PER_INDEX_OBJECT:
            self._publish()

    def _publish(self) -> None:
        """List the packs that no index object lists yet; only then may anything refer to what they hold."""
        if not self._unlisted:
            return
        blob = encode_index_object(self._keys, self._base, self._unlisted)
        self.put(f"index/{blake3(blob).hexdigest()}", [blob])
        packs, self._unlisted = self._unlisted, []
        self._published(packs)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
