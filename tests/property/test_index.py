"""The index against a dictionary: whatever is listed, listed again, condemned, merged, shared and damaged, it finds
exactly what it was told, and if its files are damaged, less, but never anything wrong."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.repository.cache import RunFiles
from holdfast.repository.index import Index
from holdfast.repository.index_objects import Listing
from holdfast.repository.packs import Pack, pack_name
from holdfast.repository.storage.port import Stored
from tests.support.indexes import REPOSITORY, a_pack

_HALF, _MORE = bytes(8), bytes(16)
IDS = [Random(number).randbytes(32) for number in range(30)]
ALIKE = [start + Random(number).randbytes(32 - len(start)) for start in (_HALF, _MORE) for number in range(10)]
POOL = [*IDS, *ALIKE, bytes(32), b"\xff" * 32, b"\xff" * 31 + b"\0"]
"""Some share 8 bytes, some 16, some are at the ends of what there is."""

Harm = Literal["cut", "flip", "lose", "empty", "foreign"]
Found = set[tuple[str, int]]


@dataclass(frozen=True)
class List:
    """A new index object: fresh packs of these ids, and as many packs that others list already."""

    packs: list[list[int]]
    again: int


@dataclass(frozen=True)
class Replace:
    """A collector's new index object over what is not condemned of an old one, which goes."""

    which: int


@dataclass(frozen=True)
class Condemn:
    which: int


@dataclass(frozen=True)
class Reopen:
    """Another process: it knows what is listed, and the files as they were left, or as something left them."""

    harm: Harm | None
    where: float


Step = List | Replace | Condemn | Reopen
numbers = st.integers(0, 1000)
steps = st.one_of(
    st.builds(List, st.lists(st.lists(st.integers(0, len(POOL) - 1), max_size=90), max_size=3), st.integers(0, 2)),
    st.builds(List, st.lists(st.lists(st.integers(0, len(POOL) - 1), max_size=9), max_size=3), st.integers(0, 2)),
    st.builds(Replace, numbers),
    st.builds(Condemn, numbers),
    st.builds(
        Reopen,
        st.sampled_from([None, None, "cut", "flip", "flip", "lose", "empty", "foreign"]),
        st.floats(0, 1, exclude_max=True),
    ),
)


@dataclass
class Model:
    """What is listed, what is condemned, and what a process has heard of."""

    packs: dict[str, Pack] = field(default_factory=dict)
    listed: dict[str, list[Pack]] = field(default_factory=dict)
    condemned: set[str] = field(default_factory=set)
    heard_of: set[str] = field(default_factory=set)

    def new(self, packs: list[Pack]) -> str:
        name = f"index/{len(self.packs):x}-{len(self.listed)}-{Random(repr(self.listed.keys())).random()}"
        self.listed[name] = packs
        self.packs |= {pack.name: pack for pack in packs}
        self.heard_of |= {pack.name for pack in packs}
        return name

    def forget(self) -> None:
        self.heard_of = {pack.name for packs in self.listed.values() for pack in packs}

    def usable(self) -> Iterator[Pack]:
        return (self.packs[name] for name in self.heard_of - self.condemned)

    def places(self) -> dict[bytes, Found]:
        found: dict[bytes, Found] = {wanted: set() for wanted in POOL}
        for pack in self.usable():
            for number, row in enumerate(pack.table.ids):
                found[row.tobytes()].add((pack.name, number))
        return found

    def reread(self, stored: Stored) -> Pack:
        name = pack_name(stored.name)
        assert name is not None
        assert self.packs[name].size == stored.size
        return self.packs[name]


class World:
    """A model, an index of one process, and the directory that its files outlive it in."""

    def __init__(self, directory: Path) -> None:
        self.model = Model()
        self.directory = directory
        self.index = self.opened()

    def opened(self) -> Index:
        index = Index(RunFiles(self.directory, REPOSITORY), self.model.reread, memory_entries=40)
        index.open(self.model.listed)
        for name, packs in self.model.listed.items():
            if not index.knows_source(name):
                index.take([Listing(name, len(name), packs)])
        index.drop(self.model.condemned)
        return index

    def take(self, step: Step) -> None:
        match step:
            case List(packs, again):
                fresh = [
                    a_pack(Random(f"{len(self.model.packs)} {at}").randbytes(32).hex(), [POOL[each] for each in ids])
                    for at, ids in enumerate(packs)
                ]
                old = sorted(self.model.packs)[:again]
                listed = [*fresh, *(self.model.packs[name] for name in old)]
                self.index.take([Listing(self.model.new(listed), 1, listed)])
            case Replace(which):
                if self.model.listed:
                    old = sorted(self.model.listed)[which % len(self.model.listed)]
                    kept = [pack for pack in self.model.listed[old] if pack.name not in self.model.condemned]
                    self.model.new(kept)
                    del self.model.listed[old]
            case Condemn(which):
                if self.model.packs:
                    name = sorted(self.model.packs)[which % len(self.model.packs)]
                    self.model.condemned.add(name)
                    self.index.drop([name])
            case Reopen(harm, where):
                self.index.save()
                self.model.forget()
                if harm and self.harm(harm, where):
                    self.index = self.opened()
                    self.judge(whole=False)
                    RunFiles(self.directory, REPOSITORY).clear()
                self.index = self.opened()
        self.judge()

    def harm(self, harm: Harm, where: float) -> bool:
        """Do something to a file; whether that may hide entries."""
        files = sorted(self.directory.iterdir())
        if harm == "foreign":
            (self.directory / "other.run").write_bytes(Random(where).randbytes(5000))
        if not files or harm == "foreign":
            return False
        file = files[int(where * len(files))]
        content = bytearray(file.read_bytes())
        at = Random(where).randrange(len(content))
        if harm == "flip":
            content[at] ^= 1 << at % 8
        file.unlink()
        if harm != "lose":
            file.write_bytes(content[: {"cut": at, "empty": 0}.get(harm, len(content))])
        return harm == "flip"

    def judge(self, *, whole: bool = True) -> None:
        expected = self.model.places()
        places = self.index.places(POOL)
        assert (places == self.index.places(np.frombuffer(b"".join(POOL), np.uint8).reshape(-1, 32))).all()
        for wanted, place in zip(POOL, places.tolist(), strict=True):
            copies = [(self.index.packs[pack].name, segment) for pack, segment in self.index.copies(wanted)]
            assert len(copies) == len(set(copies)), "a place was given twice"
            assert set(copies) == expected[wanted] if whole else set(copies) <= expected[wanted]
            found = {(self.index.packs[place[0]].name, place[1])} if place[0] >= 0 else set()
            assert found <= set(copies)
            assert bool(found) == bool(copies)
        names = [pack.name for pack in self.index.packs]
        assert len(names) == len(set(names)) == len(self.index.packs)
        assert set(names) == self.model.heard_of
        for pack in self.index.packs:
            same = self.model.packs[pack.name]
            assert pack.table.encode() == same.table.encode()
            assert (pack.header, pack.size) == (same.header, same.size)
            assert self.index.packs[self.index.number_of(pack.name)].name == pack.name
        objects = [(pack.object, pack.size) for pack in self.model.usable()]
        assert self.index.missing_from(objects) == []
        assert [(pack.object, pack.size) for pack in self.index.missing_from(objects[1:])] == objects[:1]
        assert sum(len(run.ids) for run in self.index._runs if run.in_memory) <= 40
        assert len(self.index._runs) <= 8


@settings(deadline=None)
@given(st.lists(steps, max_size=25))
def test_the_index_is_a_dictionary_of_what_is_listed_and_not_condemned(history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place) / "cache" / "index")
        for step in history:
            world.take(step)
