"""The shadow model: what a machine's disk holds follows from its name, and what was told has to be so."""

import random
from collections.abc import Collection, Iterable

from holdfast.core.progress import Silence
from holdfast.repository import Repository
from tests.support.repositories import restored

FIRST, SECOND = "repository", "copy"
"""The directories of the two repositories."""
_POOL = 24
_CHUNK = 64 * 1024


def content(machine: str) -> bytes:
    """Chunks that many machines have, some that only this one has, holes, and a size that fits nothing."""
    chance = random.Random(machine)
    chunks = [_chunk(f"pool {chance.randrange(_POOL)}") for _ in range(chance.randrange(2, 12))]
    chunks += [_chunk(f"{machine} {number}") for number in range(chance.randrange(3))]
    chunks += [bytes(_CHUNK)] * chance.randrange(3)
    chance.shuffle(chunks)
    return b"".join(chunks)[: -chance.randrange(1, 9000)]


def _chunk(seed: str) -> bytes:
    return random.Random(seed).randbytes(_CHUNK)


def require_right(repository: Repository, told: Iterable[str]) -> int:
    """Every point that is kept restores exactly, and every point that was reported is known. Returns how many are kept.

    Raises AssertionError.
    """
    state = repository.state()
    known = state.standings.keys() | state.purged.keys()
    missing = set(told) - known
    assert not missing, f"reported, and not in the log: {sorted(missing)}"
    assert not [void for void in state.voids if void.kind == "commit"], "a writer has committed twice"
    for standing in state.standings.values():
        point = standing.point
        assert restored(repository, point) == content(point.machine), f"{point.id} of {point.machine} is wrong"
    return len(state.standings)


def require_sound(repository: Repository, damaged: Collection[str] = ()) -> None:
    """A full check finds nothing but damage that is known and hurts no point. Raises AssertionError."""
    found = repository.check(Silence()).damage
    news = [each for each in found if each.machine is not None or each.object not in damaged]
    assert not news, news
