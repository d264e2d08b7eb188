"""An object store as storage: S3 and what speaks it, Google and Azure, through one library.

A put carries `If-None-Match: *` and the checksum of its bytes: the store creates the object whole or refuses. When the
outcome is unknown, the same put is sent again, and the name found taken by equal bytes is our own success.

Trying again is done here and not by the library, so that an interrupt is met between two tries and a listing goes on
where it was.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore, GCSStore, S3Store

from holdfast.core.errors import HoldfastError
from holdfast.repository.storage.answers import meaning
from holdfast.repository.storage.occupied import occupied
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.port import (
    MAXIMUM_OBJECT_BYTES,
    Bytes,
    ObjectExistsError,
    ObjectLock,
    ObjectMissingError,
    StorageError,
    StorageUnreachableError,
    Stored,
)

Store = S3Store | GCSStore | AzureStore

_PAGE: Final = 1000


class ObjectStorage:
    """Objects below a prefix of a bucket. Safe to use from many threads and processes."""

    puts_at_once = 3  # two fill a line of 150 ms while the third waits for its answer
    reads_at_once = 16
    ballast = None

    def __init__(
        self, store: Store, url: str, patience: Patience | None = None, object_lock: ObjectLock | None = None
    ) -> None:
        self.object_lock = object_lock
        self._store = store
        self._patience = patience or Patience()
        self.url = url

    def require_empty(self) -> None:
        """Raise RefusedError if there is anything below the prefix."""
        first = islice(self.list(""), _PAGE)  # by name: those that make it a repository come early
        if found := {each.name.partition("/")[0] for each in first}:
            raise occupied(self.url, found)

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """See the port. Nothing is read back: the store has compared the checksum that came with the bytes."""
        del verify_share
        self._patience.run(partial(self._create, name, b"".join(parts)))

    def get(self, name: str) -> bytes:
        """See the port."""
        return self._patience.run(partial(self._read, name))

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """See the port."""
        if len(buffer):
            self._patience.run(partial(self._read_range, name, offset, buffer))
        else:
            self.size(name)

    def size(self, name: str) -> int:
        """See the port."""
        return self._patience.run(partial(self._size, name))

    def delete(self, *names: str) -> None:
        """See the port. Many go in few requests where the store has one for that."""
        for at in range(0, len(names), _PAGE):
            self._patience.run(partial(self._delete, names[at : at + _PAGE]))

    def list(self, prefix: str) -> Iterator[Stored]:
        """See the port."""
        listing = _Listing(self._store, self.url, prefix)
        while (page := self._patience.run(listing.next_page)) is not None:
            yield from page

    def _create(self, name: str, content: bytes) -> None:
        try:
            with meaning(self.url, name):
                obstore.put(self._store, name, content, mode="create")
        except AlreadyExistsError:
            self._require_equal(name, content)

    def _require_equal(self, name: str, content: bytes) -> None:
        """A store also says that a name is taken while it decides between several puts: then there may be nothing."""
        try:
            if self._size(name) != len(content) or self._read(name) != content:
                raise ObjectExistsError(f"{self.url}/{name} exists with other content")
        except ObjectMissingError as error:
            message = f"{self.url}/{name}: another put or delete of it was under way"
            raise StorageUnreachableError(message, hint="run again", code="store-busy") from error

    def _read(self, name: str) -> bytes:
        with meaning(self.url, name):
            answer = obstore.get(self._store, name)
            if (size := answer.meta["size"]) > MAXIMUM_OBJECT_BYTES:
                message = f"{self.url}/{name} is {size} bytes large, no object of a repository is"
                raise StorageError(message, hint="run `holdfast repository check`", code="oversized")
            return answer.bytes().to_bytes()

    def _read_range(self, name: str, offset: int, buffer: memoryview) -> None:
        with meaning(self.url, name):
            piece = obstore.get_range(self._store, name, start=offset, length=len(buffer))
        if len(piece) != len(buffer):
            message = f"{self.url}/{name} ends at byte {offset + len(piece)}, {offset + len(buffer)} were needed"
            raise StorageError(message, hint="run `holdfast repository check`", code="truncated")
        buffer[:] = memoryview(piece)

    def _size(self, name: str) -> int:
        """An answer to a head has no body to name its reason, and its 404 may be any proxy's: a get asks again."""
        try:
            with meaning(self.url, name):
                return obstore.head(self._store, name)["size"]
        except StorageUnreachableError:
            raise
        except HoldfastError:
            with meaning(self.url, name):
                return obstore.get(self._store, name).meta["size"]

    def _delete(self, names: Sequence[str]) -> None:
        try:
            with meaning(self.url, names[0]):
                obstore.delete(self._store, names)
        except ObjectMissingError:  # Google and Azure say so, S3 does not
            if len(names) > 1:
                for name in names:
                    self._delete([name])


class _Listing:
    """A listing by pages. After a page that failed it goes on behind the last name it has seen."""

    def __init__(self, store: Store, url: str, prefix: str) -> None:
        self._store = store
        self._url = url
        self._prefix = prefix
        self._last: str | None = None
        self._pages = obstore.list(store, prefix or None, chunk_size=_PAGE)

    def next_page(self) -> Sequence[Stored] | None:
        """The next objects; None at the end. Names that end in "/", which consoles make for folders, are none."""
        try:
            with meaning(self._url, self._prefix):
                page = next(self._pages, None)
        except StorageUnreachableError:
            self._pages = obstore.list(self._store, self._prefix or None, offset=self._last, chunk_size=_PAGE)
            raise
        if page is None:
            return None
        self._last = page[-1]["path"]
        below = (found for found in page if found["path"] and found["path"].startswith(self._prefix))
        return [Stored(found["path"], found["size"]) for found in below]
