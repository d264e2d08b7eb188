"""A disk whose every byte follows from seeds: it is written to a file once, and compared without keeping a copy.

Its data are words from a small vocabulary (zstd makes 0.4 of them), or random bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.measure import WrongBytesError
from bench.readers import file_extents

REGION = 4 << 20
_SEED = 2026
_BASE = 0  # the generation of what the disk held first; edits count theirs from 1
_WORDS = 4096
_LETTERS = np.frombuffer(b"etaoinshrdlucmfw", np.uint8)
_VOCABULARY = np.random.default_rng(_SEED).choice(_LETTERS, size=(_WORDS, 8)).view(np.uint64).ravel()

Content = Literal["words", "noise"]


def content(kind: Content, seed: Sequence[int], length: int) -> bytes:
    """`length` bytes (a multiple of 8) that depend on nothing but the seed."""
    source = np.random.Generator(np.random.SFC64([_SEED, *seed]))
    if kind == "noise":
        return source.bytes(length)
    return _VOCABULARY[source.integers(0, _WORDS, size=length // 8, dtype=np.uint16)].tobytes()


@dataclass(frozen=True, slots=True)
class Edit:
    """A write of `length` bytes at `offset`, whose content follows from `seed`; its first number is not 0."""

    offset: int
    length: int
    seed: tuple[int, ...]
    kind: Content = "words"

    @property
    def end(self) -> int:
        return self.offset + self.length

    def content(self) -> bytes:
        return content(self.kind, self.seed, self.length)


class SyntheticDisk:
    """Some whole regions filled from a seed, and edits over them; everything else is zero."""

    def __init__(self, size: int, filled: Iterable[int]) -> None:
        self.size = size
        self._filled = frozenset(filled)
        self._edits: defaultdict[int, list[Edit]] = defaultdict(list)

    def edit(self, edits: Iterable[Edit]) -> None:
        """Take in writes; each lies inside one region."""
        for edit in edits:
            assert edit.offset // REGION == (edit.end - 1) // REGION
            self._edits[edit.offset // REGION].append(edit)

    def region(self, number: int) -> bytes:
        """What the disk holds in one region."""
        held = bytearray(content("words", (_BASE, number), REGION) if number in self._filled else REGION)
        for edit in self._edits.get(number, ()):
            at = edit.offset % REGION
            held[at : at + edit.length] = edit.content()
        return bytes(held)

    def touched(self) -> frozenset[int]:
        """The regions that may hold anything but zeros."""
        return self._filled.union(self._edits)

    def write_to(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(self.size)
            for number in sorted(self.touched()):
                file.seek(number * REGION)
                file.write(self.region(number))

    def require_equal(self, path: Path) -> None:
        """Raise WrongBytesError unless the file holds exactly this disk, holes and zeros being the same."""
        if path.stat().st_size != self.size:
            raise WrongBytesError(f"{path.name} has {path.stat().st_size} bytes instead of {self.size}")
        touched = self.touched()
        with path.open("rb", buffering=0) as file:
            for number in sorted(touched | set(_regions_with_data(file.fileno()))):
                expected = self.region(number) if number in touched else bytes(REGION)
                file.seek(number * REGION)
                if file.read(REGION) != expected:
                    raise WrongBytesError(f"{path.name} differs between {number * REGION} and {(number + 1) * REGION}")


def _regions_with_data(fd: int) -> Iterator[int]:
    for start, end in file_extents(fd):
        yield from range(start // REGION, (end - 1) // REGION + 1)
