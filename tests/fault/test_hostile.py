"""A hostile repository: every field of every object, sealed or not, changed, cut, bombed.

Whoever does it without the keys gets exact bytes or an error out of us; whoever has the keys can of course say what a
disk holds, but never makes us crash, hang, or take more memory than a large record.
"""

import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import HoldfastError
from holdfast.core.progress import Silence
from holdfast.repository import (
    CheckScope,
    Journal,
    MemoryStorage,
    check_without_key,
    open_for_reading,
    open_for_rebuild,
    open_repository,
)
from tests.format.writer import PASSPHRASE
from tests.support.disks import whole
from tests.support.forging import CONTENT, bombs, byte_edits, forged, json_edits, only, plaintexts
from tests.support.repositories import back_up_disks, restored

SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "1"))
CASES = 1000 if "HOLDFAST_TEST_SEED" in os.environ else 60
"""Of each layer; `make soak` chooses others each round."""
LONGEST_S = 30
MEMORY = 300 << 20
LAYERS = plaintexts()
TEXTS = {"config", "slot", "line 1", "line 2", "body 1", "body 2"}


@contextmanager
def bounded() -> Iterator[None]:
    """Within, whatever takes too long is a hang."""

    def too_long(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def use(objects: dict[str, bytes]) -> set[bytes]:
    """Do with a repository all that can be done; what disks gave back. Anything but an error of ours fails."""
    storage = MemoryStorage()
    storage.objects = objects
    found = set()
    with suppress(HoldfastError):
        check_without_key(storage, CheckScope(level="keyless"), Journal(), Silence())
    with suppress(HoldfastError):
        open_for_rebuild(storage, PASSPHRASE, Silence()).plan()
    with suppress(HoldfastError):
        repository = open_for_reading(storage, PASSPHRASE, lambda _: None)
        for level in ("structure", "full"):
            with suppress(HoldfastError):
                repository.check(Silence(), CheckScope(level=level))  # type: ignore[arg-type]
        for point in repository.points():
            for disk in point.disks:
                if disk.size_bytes <= 16 << 20:
                    with suppress(HoldfastError):
                        found.add(restored(repository, point, disk.name))
            for blob in (point.definition.xml, point.definition.nvram):
                with suppress(HoldfastError):
                    if blob is not None:
                        repository.read_blob(blob)
    with suppress(HoldfastError):
        back_up_disks(open_repository(storage, PASSPHRASE), [whole(b"B" * 5000)], machine="other")
    return found


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def require_no_harm(layer: str, what: str, objects: dict[str, bytes]) -> set[bytes]:
    before = peak()
    try:
        with bounded():
            found = use(objects)
    except Exception as error:
        raise AssertionError(f"{layer}, {what}: {error!r}") from error
    assert peak() - before < MEMORY, f"{layer}, {what}: {peak() - before >> 20} MiB"
    return found


def test_what_nobody_changed_comes_back() -> None:
    assert use(forged(lambda _, plain: plain)) == {CONTENT}


def chosen(edits: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    every = list(edits)
    return random.Random(SEED).sample(every, min(CASES, len(every)))


@pytest.mark.parametrize("layer", sorted(LAYERS.keys() - TEXTS))
def test_any_field_of_sealed_bytes_does_no_harm(layer: str) -> None:
    for what, content in chosen(byte_edits(LAYERS[layer])):
        require_no_harm(layer, what, forged(only(layer, content)))


@pytest.mark.parametrize("layer", sorted(TEXTS))
def test_any_field_of_a_text_does_no_harm(layer: str) -> None:
    for what, content in chosen(json_edits(LAYERS[layer])):
        require_no_harm(layer, what, forged(only(layer, content)))


@pytest.mark.parametrize("layer", ["frame data", "frame nodes"])
def test_bombs_do_no_harm(layer: str) -> None:
    for what, content in bombs():
        assert require_no_harm(layer, what, forged(only(layer, content))) <= {CONTENT}


@pytest.mark.parametrize("layer", ["frame data", "frame nodes", "table data", "table nodes"])
def test_nothing_but_the_ids_says_what_a_disk_holds(layer: str) -> None:
    """Records and tables can be whatever they like: bytes that do not fit their ids are never given back."""
    for what, content in chosen(byte_edits(LAYERS[layer])):
        assert require_no_harm(layer, what, forged(only(layer, content))) <= {CONTENT}, what


OBJECTS = forged(lambda _, plain: plain)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_without_the_keys_only_exact_bytes_or_errors_come_out(data: st.DataObject) -> None:
    """Several objects at once: bytes flipped, cut, filled, exchanged, added."""
    objects = dict(OBJECTS)
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(objects)))
        blob = objects[name]
        at = data.draw(st.integers(0, max(0, len(blob) - 1)))
        match data.draw(st.sampled_from(["bytes", "cut", "add", "exchange", "zeros", "lose"])):
            case "bytes":
                new = data.draw(st.binary(min_size=1, max_size=12))
                objects[name] = blob[:at] + new + blob[at + len(new) :]
            case "cut":
                objects[name] = blob[:at]
            case "add":
                objects[name] = blob + data.draw(st.binary(min_size=1, max_size=100))
            case "exchange":
                objects[name] = objects[data.draw(st.sampled_from(sorted(objects)))]
            case "zeros":
                objects[name] = blob[:at] + bytes(len(blob) - at)
            case "lose":
                del objects[name]
        if not objects:
            break
    assert require_no_harm("objects", "several", objects) <= {CONTENT}
