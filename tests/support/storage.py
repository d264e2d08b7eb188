"""Storages that wrap another: one that fails where a test plans it, one that remembers what was asked of it.

A power cut is a BaseException, so that no handler of ordinary errors can swallow it, and after it nothing is ever put
again. A planned fault that was never reached fails the test that planned it.
"""

import math
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from holdfast.core.errors import FullError, HoldfastError
from holdfast.repository import MemoryStorage, Storage
from holdfast.repository.storage.port import Bytes, StorageError, Stored


class PowerCut(BaseException):
    """The lights went out."""


class Put(NamedTuple):
    """One put that was asked for, or a delete (of no content), and how to carry it out."""

    name: str
    content: bytes
    carry_out: Callable[[], None]
    storage: Storage

    def succeed(self) -> None:
        """No fault after all."""
        self.carry_out()


Fault = Callable[[Put], None]


def lost(put: Put) -> None:
    """The power went before anything of it was durable."""
    raise PowerCut(put.name)


def torn(put: Put) -> None:
    """The power went in the middle: half a draft is left, under no name that counts."""
    put.storage.put(f"tmp/{secrets.token_hex(8)}", [put.content[: len(put.content) // 2]])
    raise PowerCut(put.name)


def kept(put: Put) -> None:
    """It was durable, but nobody was told any more."""
    put.carry_out()
    raise PowerCut(put.name)


FATES: Mapping[str, Fault] = {"lost": lost, "torn": torn, "kept": kept}


def full(put: Put) -> None:
    """No space left."""
    raise FullError(f"no space left for {put.name}")


def failing(put: Put) -> None:
    """It did not happen, and the storage says so, as far as it can know."""
    raise StorageError(f"{put.name}: time-out")


def failing_after_it_happened(put: Put) -> None:
    """It did happen, and the storage does not know."""
    put.carry_out()
    raise StorageError(f"{put.name}: time-out")


class FaultyStorage:
    """Carries everything out, except what a test has planned."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.reads_at_once = inner.reads_at_once
        self.object_lock = inner.object_lock
        self.ballast = inner.ballast
        self.puts: list[str] = []
        self.deletes: list[str] = []
        self.unreadable: dict[str, HoldfastError] = {}
        """What reading raises, by the object's name or a folder ("log/")."""
        self.unlistable: dict[str, HoldfastError] = {}
        """What listing raises, by the prefix."""
        self.undeletable: dict[str, HoldfastError] = {}
        """What deleting raises, by the object's name."""
        self.dead = False
        self._plan: dict[int, Fault] = {}
        self._deletes_plan: dict[int, Fault] = {}
        self._by_prefix: dict[str, Fault] = {}
        self._counting = threading.Lock()

    @contextmanager
    def at_put(self, number: int, fault: Fault) -> Iterator[Self]:
        """Within, the `number`-th put from now on, counted from 1, meets the fault. It must be reached."""
        wanted = len(self.puts) + number
        self._plan[wanted] = fault
        yield self
        assert wanted not in self._plan, f"put {number} was never reached"

    @contextmanager
    def at_delete(self, number: int, fault: Fault) -> Iterator[Self]:
        """Within, the `number`-th delete from now on, counted from 1, meets the fault. It must be reached."""
        wanted = len(self.deletes) + number
        self._deletes_plan[wanted] = fault
        yield self
        assert wanted not in self._deletes_plan, f"delete {number} was never reached"

    @contextmanager
    def at_every_put(self, prefix: str, fault: Fault) -> Iterator[Self]:
        """Within, every put below a prefix meets the fault; there must be one."""
        before = len(self.puts)
        self._by_prefix[prefix] = fault
        yield self
        del self._by_prefix[prefix]
        assert any(name.startswith(prefix) for name in self.puts[before:]), f"nothing was put below {prefix!r}"

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        with self._counting:
            if self.dead:
                raise PowerCut(name)
            self.puts.append(name)
            fault = self._plan.pop(len(self.puts), None) or self._fault_below(name)

        def carry_out() -> None:
            self.inner.put(name, parts, verify_share=verify_share)

        if fault is None:
            carry_out()
        else:
            self._meet(fault, Put(name, b"".join(parts), carry_out, self.inner))

    def _meet(self, fault: Fault, put: Put) -> None:
        try:
            fault(put)
        except PowerCut:
            self.dead = True
            raise

    def _fault_below(self, name: str) -> Fault | None:
        return next((fault for prefix, fault in self._by_prefix.items() if name.startswith(prefix)), None)

    def get(self, name: str) -> bytes:
        self._refuse_unreadable(name)
        return self.inner.get(name)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._refuse_unreadable(name)
        self.inner.read_into(name, offset, buffer)

    def size(self, name: str) -> int:
        self._refuse_unreadable(name)
        return self.inner.size(name)

    def delete(self, *names: str) -> None:
        """One of them after the other, each a call that faults are counted by."""
        for name in names:
            self._delete(name)

    def _delete(self, name: str) -> None:
        with self._counting:
            if self.dead:
                raise PowerCut(name)
            self.deletes.append(name)
            fault = self._deletes_plan.pop(len(self.deletes), None)
        if name in self.undeletable:
            raise self.undeletable[name]
        if fault is None:
            self.inner.delete(name)
        else:
            self._meet(fault, Put(name, b"", lambda: self.inner.delete(name), self.inner))

    def list(self, prefix: str) -> Iterator[Stored]:
        if prefix in self.unlistable:
            raise self.unlistable[prefix]
        return self.inner.list(prefix)

    def _refuse_unreadable(self, name: str) -> None:
        for unreadable, error in self.unreadable.items():
            if name == unreadable or (unreadable.endswith("/") and name.startswith(unreadable)):
                raise error


class Operation(NamedTuple):
    """One thing that was asked of a storage. `begun` and `ended` order operations; they share one count."""

    kind: str
    name: str
    begun: int
    ended: int


class SmallDisk(MemoryStorage):
    """Holds no more than `capacity` bytes in all, and no object of more than `largest`."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity: float = math.inf
        self.largest: float = math.inf

    @property
    def used_bytes(self) -> int:
        return sum(map(len, self.objects.values()))

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        size = sum(map(len, parts))
        if size > self.largest or self.used_bytes + size > self.capacity:
            raise FullError(f"no space left for {name}")
        super().put(name, parts, verify_share=verify_share)


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own, so small that it fills."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


class RecordingStorage:
    """Carries everything out and remembers it."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.url = inner.url
        self.puts_at_once = inner.puts_at_once
        self.reads_at_once = inner.reads_at_once
        self.object_lock = inner.object_lock
        self.ballast = inner.ballast
        self.operations: list[Operation] = []
        self._count = 0
        self._counting = threading.Lock()

    def names(self, kind: str, prefix: str = "") -> list[str]:
        return [each.name for each in self.operations if each.kind == kind and each.name.startswith(prefix)]

    def put(self, name: str, parts: Sequence[Bytes], *, verify_share: float = 1.0) -> None:
        with self._noted("put", name):
            self.inner.put(name, parts, verify_share=verify_share)

    def get(self, name: str) -> bytes:
        with self._noted("get", name):
            return self.inner.get(name)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        with self._noted("read", name):
            self.inner.read_into(name, offset, buffer)

    def size(self, name: str) -> int:
        with self._noted("size", name):
            return self.inner.size(name)

    def delete(self, *names: str) -> None:
        for name in names:
            with self._noted("delete", name):
                self.inner.delete(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        with self._noted("list", prefix):
            return self.inner.list(prefix)

    @contextmanager
    def _noted(self, kind: str, name: str) -> Iterator[None]:
        begun = self._next()
        yield
        self.operations.append(Operation(kind, name, begun, self._next()))

    def _next(self) -> int:
        with self._counting:
            self._count += 1
            return self._count
