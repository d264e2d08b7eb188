"""What makes an actor deterministic: what the product does in several threads happens in one, and chance is its own."""

import math
import os
import random
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from holdfast.mover.pool import Shared
from holdfast.repository.collect.at_once import Behind
from holdfast.repository.packing import SealedPack
from holdfast.repository.uploading import Uploader

_randomness = threading.local()
_urandom = os.urandom


class InlineUploader(Uploader):
    """Uploads where it is asked to."""

    def hand_over(self, sealed: SealedPack) -> None:
        self._upload(sealed)
        self.buffers.give_back(sealed.buffer)


def run_here(_name: str, work: Shared[Any], body: Callable[[Shared[Any]], None], spare: int = 0) -> None:
    """What mover threads do, in this one."""
    body(work)


def one_by_one(request: Callable[[Any], Any], asked: Iterable[Any], _threads: int) -> Iterator[Any]:
    """What a collector's threads do, in this one."""
    return map(request, asked)


class AtOnce(Behind[Any]):
    """Makes each request when it is handed over."""

    def hand_over(self, asked: Any) -> None:
        self._request(asked)


def seed_this_thread(seed: str) -> None:
    """From now on this thread's chance follows from the seed."""
    _randomness.generator = random.Random(seed)


def own_urandom(size: int) -> bytes:
    generator = getattr(_randomness, "generator", None)
    return generator.randbytes(size) if generator else _urandom(size)


START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Ticking:
    """A clock that an actor has to itself: it goes on by a second whenever somebody looks."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@contextmanager
def each_actor_alone() -> Iterator[None]:
    """Within, every actor is one thread whose doings follow from what the storage tells it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.mover.backup.run_threads", run_here)
        patch.setattr("holdfast.mover.restore.run_threads", run_here)
        patch.setattr("holdfast.repository.collect.deleting.each_of", one_by_one)
        patch.setattr("holdfast.repository.collect.rewriting.Behind", AtOnce)
        patch.setattr("holdfast.repository.writer.Uploader", InlineUploader)
        patch.setattr("holdfast.repository.writer._NEWS_EVERY_S", math.inf)
        patch.setattr("holdfast.repository.collect.plan._WORTH_A_PASS", 0)
        patch.setattr(os, "urandom", own_urandom)
        patch.setattr(secrets, "token_hex", lambda size=32: own_urandom(size).hex())
        yield
