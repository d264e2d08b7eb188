"""Storage in memory: for tests of the store and for trying things out."""

from collections.abc import Iterator, Sequence
from threading import Lock

from holdfast.repository.storage.port import Ballast, Bytes, ObjectExistsError, ObjectMissingError, StorageError, Stored


class MemoryStorage:
    """A dictionary with the guarantees of the port, as long as the process lives."""

    puts_at_once = 1
    reads_at_once = 1
    object_lock = None
    ballast: Ballast | None = None

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = Lock()
        self.url = "memory:"

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        """Create `name`; memory needs no reading back, whatever `verify_share` says."""
        del verify_share
        content = b"".join(parts)
        with self._lock:
            if self.objects.setdefault(name, content) != content:
                raise ObjectExistsError(f"{name} exists with other content")

    def get(self, name: str) -> bytes:
        """The whole object."""
        try:
            return self.objects[name]
        except KeyError:
            raise ObjectMissingError(f"no object {name}") from None

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Copy a range out."""
        piece = self.get(name)[offset : offset + len(buffer)]
        if len(piece) < len(buffer):
            raise StorageError(f"{name} ends at byte {self.size(name)}, {offset + len(buffer)} were needed")
        buffer[:] = piece

    def size(self, name: str) -> int:
        """Bytes of the object."""
        return len(self.get(name))

    def delete(self, *names: str) -> None:
        """Forget the objects."""
        with self._lock:
            for name in names:
                self.objects.pop(name, None)

    def list(self, prefix: str) -> Iterator[Stored]:
        """A snapshot of the names below `prefix`."""
        with self._lock:
            found = [Stored(name, len(content)) for name, content in self.objects.items() if name.startswith(prefix)]
        return iter(found)
