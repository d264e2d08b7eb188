"""Reading ahead over a distant storage: who gets an object of the log or the index soon gets the ones behind it.

Both are read from end to end, object by object, when a repository is opened; one after the other, that takes as long as
the line is slow. So a get of a name that was listed fetches the next listed names at the same time.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from holdfast.repository.storage.port import Bytes, Storage, Stored

_FOLDERS: Final = ("log/", "index/")
_OBJECTS: Final = 16
_OBJECT_BYTES: Final = 64 * 1024 * 1024
"""At most so many objects, of so many bytes, are fetched or held at once, per folder."""


class ReadAheadStorage:
    """Carries everything out; gets below the folders that are read from end to end are answered from ahead.

    Such an answer was read after the last listing of its folder. What has been answered once is never held longer.
    """

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._folders = {folder: _Folder(inner) for folder in _FOLDERS}
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.reads_at_once = inner.reads_at_once
        self.object_lock = inner.object_lock
        self.ballast = inner.ballast

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """See the port."""
        self._inner.put(name, parts, verify_share=verify_share)

    def get(self, name: str) -> bytes:
        """See the port."""
        folder = self._folder_of(name)
        fetch = folder.take(name) if folder else None
        return fetch.result() if fetch else self._inner.get(name)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """See the port."""
        self._inner.read_into(name, offset, buffer)

    def size(self, name: str) -> int:
        """See the port."""
        return self._inner.size(name)

    def delete(self, *names: str) -> None:
        """See the port. What was fetched of it before is forgotten."""
        self._inner.delete(*names)
        for name in names:
            if folder := self._folder_of(name):
                folder.forget(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See the port."""
        if prefix not in self._folders:
            return self._inner.list(prefix)
        listed = sorted(self._inner.list(prefix))
        self._folders[prefix].expect(listed)
        return iter(listed)

    def _folder_of(self, name: str) -> "_Folder | None":
        return self._folders.get(name[: name.find("/") + 1])


class _Folder:
    """The names of one folder that nobody has got yet, in order, and what is being fetched of them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._changing = threading.Lock()
        self._got: set[str] = set()
        self._expected: OrderedDict[str, int] = OrderedDict()
        self._fetches: dict[str, _Fetch] = {}
        self._held_bytes = 0

    def expect(self, listed: Sequence[Stored]) -> None:
        """A new listing; what was fetched before it is too old now."""
        with self._changing:
            self._fetches.clear()
            self._held_bytes = 0
            self._expected = OrderedDict((name, size) for name, size in listed if name not in self._got)

    def take(self, name: str) -> "_Fetch | None":
        """The fetch of a name that was listed, begun at the latest now, with those of the names behind it."""
        with self._changing:
            if name not in self._fetches and name not in self._expected:
                return None
            while self._expected and next(iter(self._expected)) < name:  # whoever skips a name does not want it
                self._expected.popitem(last=False)
            if name not in self._fetches:  # nor what has been begun before it
                self._drop([begun for begun in self._fetches if begun < name])
            self._begin_next(name)
            self._got.add(name)
            fetch = self._fetches.pop(name)
            self._held_bytes -= fetch.size
            return fetch

    def forget(self, name: str) -> None:
        """The name is gone."""
        with self._changing:
            self._expected.pop(name, None)
            self._drop([name])

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            if fetch := self._fetches.pop(name, None):
                self._held_bytes -= fetch.size

    def _begin_next(self, wanted: str) -> None:
        while self._expected:
            name, size = next(iter(self._expected.items()))
            full = len(self._fetches) >= _OBJECTS or self._held_bytes + size > _OBJECT_BYTES
            if full and wanted in self._fetches:
                return
            del self._expected[name]
            self._fetches[name] = _Fetch(self._storage, name, size)
            self._held_bytes += size


class _Fetch:
    """One get, in a thread of its own that nobody waits for at the end of the program."""

    def __init__(self, storage: Storage, name: str, size: int) -> None:
        self.size = size
        self._storage = storage
        self._name = name
        self._content = b""
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def result(self) -> bytes:
        """What was got. Raises what the storage raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._content

    def _run(self) -> None:
        try:
            self._content = self._storage.get(self._name)
        except BaseException as failure:  # noqa: BLE001 - raised again where the result is asked for
            self._failure = failure
