"""The storage at which actors take turns, and what can become of a call.

Calls that commute with every call of everybody else need no turn: configuration and key slots, which nobody changes,
and entries of the log that are there, which never go. Everything else is a step of the schedule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from holdfast.core.errors import DeniedError
from holdfast.repository.storage.port import (
    Bytes,
    ObjectExistsError,
    ObjectMissingError,
    StorageError,
    StorageUnreachableError,
    Stored,
)
from tests.explore.turns import Actor, Call

WELL: Final = "is well"
LOST: Final = "is lost"
UNANSWERED: Final = "happens, but nobody is told"
LATE: Final = "happens later, and nobody is told"
TWICE: Final = "happens, and once more later"
STALE: Final = "misses what is new"
REVERSED: Final = "comes in another order"
REFUSED: Final = "is refused: the credentials have expired"
BUSY: Final = "is put off: the store is busy"

FATES: Final[Mapping[str, tuple[str, ...]]] = {
    "put": (LOST, UNANSWERED, LATE, TWICE, BUSY, REFUSED),
    "get": (LOST, BUSY, REFUSED),
    "read": (LOST, BUSY, REFUSED),
    "size": (LOST, BUSY, REFUSED),
    "list": (LOST, STALE, REVERSED, BUSY, REFUSED),
    "delete": (LOST, UNANSWERED, LATE, BUSY, REFUSED),
}
"""What else a call can meet than being well."""


class Late(NamedTuple):
    """Something that is still on its way."""

    label: str
    happen: Callable[[], object]


class Shelf:
    """The objects themselves, and what is on its way to them.

    `digest` tells apart what it holds. `dangers` counts what can hurt: deleting, and entries of the log.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.first = dict(objects)
        self.late: list[Late] = []
        self.digest = 0
        self.dangers = 0
        for item in self.objects.items():
            self.digest ^= hash(item)

    def put(self, name: str, content: bytes) -> bool:
        """Create it unless the name is taken. Whether these bytes stand there now."""
        if name not in self.objects:
            self.objects[name] = content
            self.digest ^= hash((name, content))
            self.dangers += name.startswith("log/")
        return self.objects[name] == content

    def delete(self, name: str) -> None:
        """Forget it."""
        if name in self.objects:
            self.digest ^= hash((name, self.objects.pop(name)))
            self.dangers += 1


class SharedStorage:
    """One actor's way to the shelf: the storage port, a turn for every call."""

    puts_at_once = 1
    reads_at_once = 1
    object_lock = None
    ballast = None

    def __init__(self, shelf: Shelf, actor: Actor) -> None:
        self.url = "memory:"
        self.backwards = False
        """Whether listings come in the other order: the port promises none."""
        self._shelf = shelf
        self._actor = actor

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        del verify_share
        content = b"".join(parts)
        fate = self._turn("put", name)
        if fate in {LATE, TWICE}:
            self._shelf.late.append(Late(f"put {name}", lambda: self._shelf.put(name, content)))
        there = fate not in {WELL, UNANSWERED, TWICE} or self._shelf.put(name, content)
        if there or fate == UNANSWERED:
            self._answer("put", name, None if fate == TWICE else fate)
        else:
            self._actor.note("exists", name)
            raise ObjectExistsError(f"{name} exists with other content")

    def get(self, name: str) -> bytes:
        self._answer("get", name, self._turn("get", name))
        return self._content(name)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._answer("read", name, self._turn("read", name))
        piece = self._content(name)[offset : offset + len(buffer)]
        if len(piece) < len(buffer):
            raise StorageError(f"{name} is too short")
        buffer[:] = piece

    def size(self, name: str) -> int:
        self._answer("size", name, self._turn("size", name))
        return len(self._content(name))

    def delete(self, *names: str) -> None:
        for name in names:
            self._delete(name)

    def _delete(self, name: str) -> None:
        fate = self._turn("delete", name)
        if fate == LATE:
            self._shelf.late.append(Late(f"delete {name}", lambda: self._shelf.delete(name)))
        if fate in {WELL, UNANSWERED}:
            self._shelf.delete(name)
        self._answer("delete", name, fate)

    def list(self, prefix: str) -> Iterator[Stored]:
        fate = self._turn("list", prefix)
        self._answer("list", prefix, None if fate in {STALE, REVERSED} else fate)
        found = [Stored(name, len(content)) for name, content in self._shelf.objects.items() if name.startswith(prefix)]
        if fate == STALE:
            found = [stored for stored in found if stored.name in self._shelf.first]
        if self.backwards != (fate == REVERSED):
            found.reverse()
        self._actor.note(*found)
        return iter(found)

    def _turn(self, kind: str, name: str) -> str:
        if kind in {"get", "read", "size"}:
            constant = name.startswith(("config", "keys/")) or (name.startswith("log/") and name in self._shelf.objects)
            if constant:
                return WELL
        return self._actor.take_turn(Call(kind, name))

    def _content(self, name: str) -> bytes:
        content = self._shelf.objects.get(name)
        self._actor.note(name, content)
        if content is None:
            raise ObjectMissingError(f"no object {name}")
        return content

    def _answer(self, kind: str, name: str, fate: str | None) -> None:
        """Tell the actor how its call ended, as far as the storage says."""
        self._actor.note(kind, name, fate in {None, WELL})
        if fate == REFUSED:
            raise DeniedError(f"{kind} {name}: the credentials have expired", hint="bring new ones")
        if fate == BUSY:
            raise StorageUnreachableError(f"{kind} {name}: slow down", hint="later", code="store-busy")
        if fate not in {None, WELL}:
            raise StorageError(f"{kind} {name}: time-out")
