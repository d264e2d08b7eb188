"""The storage port: immutable named objects, created once, durable before `put` returns.

Everything the repository promises rests on six guarantees, which `tests/contract/storage.py` holds every
implementation to:

1. `put` creates or fails; an object never changes and is never seen half-written under its name.
2. When `put` returns, the object and its name survive a power cut.
3. When `put` raises ObjectExistsError, other bytes stand under that name. When it raises anything else the outcome is
   unknown: the object may or may not be there, whole. Putting the same bytes again is always safe.
4. What `put` has returned for is seen by every later `get` and `list` of every process.
5. What `list` has shown right below its prefix survives a power cut, even if its `put` has not returned yet.
6. When `delete` returns, the name is gone for every later `get` and `list`, and stays gone through a power cut. When
   it raises, the outcome is unknown; deleting again is always safe.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from holdfast.core.errors import ConflictError, FailedError, NotFoundError, UnreachableError

MAXIMUM_OBJECT_BYTES: Final = 256 * 1024 * 1024
"""No object of a repository is as large; what is, was put there by somebody else, and is not read into memory."""

Bytes = bytes | bytearray | memoryview


class ObjectMissingError(NotFoundError):
    """No object has that name."""


class ObjectExistsError(ConflictError):
    """Other bytes already stand under that name."""


class StorageError(FailedError):
    """The storage could not do it; of a put, nothing is known."""


class StorageUnreachableError(UnreachableError, StorageError):
    """The storage did not answer, or said that it cannot right now; trying again may succeed."""


class Stored(NamedTuple):
    """An object as listed; size in bytes."""

    name: str
    size: int


class Version(NamedTuple):
    """One of the contents that a name has had in a store that keeps them all, or (`hides`) a mark that it has none now.

    `id` is the store's own name of it; size in bytes.
    """

    name: str
    id: str
    size: int
    hides: bool
    is_latest: bool


class Retention(NamedTuple):
    """Until when the store lets nobody delete an object, None if not at all, and what time it is there."""

    until: datetime | None
    now: datetime

    @property
    def in_force(self) -> bool:
        """Whether it cannot be deleted now."""
        return self.until is not None and self.until > self.now


class ObjectLock(Protocol):
    """What a store can do that keeps every version of an object and locks versions, beside the storage port.

    A name's object is its oldest version: objects are created once, so what came later is none of ours. A lock is one
    that the store lets nobody undo or shorten (S3: retention in the mode COMPLIANCE). Any thread.
    """

    def is_enabled(self) -> bool:
        """Whether this store locks. Raises DeniedError if that may not be asked."""

    def lock(self, name: str, until: datetime) -> None:
        """Let nobody delete the object before that time; a longer lock stays.

        Raises ObjectMissingError, DeniedError, StorageError.
        """

    def retention(self, name: str) -> Retention:
        """How long the object is locked. Raises ObjectMissingError, DeniedError, StorageError."""

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version whose name begins with `prefix`; those of one name from the newest to the oldest, marks apart.

        Raises DeniedError, StorageError.
        """

    def read(self, version: Version) -> bytes:
        """What that version holds. Raises ObjectMissingError, DeniedError, StorageError."""

    def remove(self, version: Version) -> None:
        """Delete one version for good. Raises DeniedError (also where it is locked), StorageError."""


class Ballast(Protocol):
    """Room that is kept in a storage which can be full, for the decisions that make room. Any thread, any process."""

    def fill(self) -> None:
        """Take it, or what is missing of it, as far as that leaves others enough.

        Raises FullError if it would be too little to be of use, DeniedError, StorageError.
        """

    def drop(self, keep: int = 0) -> bool:
        """Let a part of it go; False if no more than `keep` bytes are left. Never raises."""


class Storage(Protocol):
    """A flat set of named objects. Safe to use from many threads and processes at once."""

    @property
    def url(self) -> str:
        """Where this is, as the user would name it."""

    @property
    def puts_at_once(self) -> int:
        """How many large puts it takes side by side to use its whole line; more only cost memory."""

    @property
    def reads_at_once(self) -> int:
        """How many reads side by side make up for how long each waits for an answer; 1 where it does not."""

    @property
    def object_lock(self) -> ObjectLock | None:
        """What it can do about versions and locks; None if it is no store of that kind."""

    @property
    def ballast(self) -> Ballast | None:
        """The room that it keeps; None where a storage is as large as is paid for."""

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """Create `name` holding the parts one after the other, durably.

        `verify_share` (0 to 1) of the bytes is read back from the medium and compared before the object gets its name.
        Raises ObjectExistsError, FullError or StorageError.
        """

    def get(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissingError; StorageError also if it is larger than any object can be."""

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset`. Raises ObjectMissingError; StorageError also if the object is too short."""

    def size(self, name: str) -> int:
        """Bytes of the object. Raises ObjectMissingError or StorageError."""

    def delete(self, *names: str) -> None:
        """Remove these objects, durably. That there is none of a name is no error.

        Raises DeniedError or StorageError; then any of them may still be there.
        """

    def list(self, prefix: str) -> Iterator[Stored]:
        """Objects whose names begin with the folder `prefix` (ends in "/"), in no order."""
