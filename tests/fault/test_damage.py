"""Every object damaged in every way: exact bytes or a clear error, and a check that says what is wrong either way."""

import os
import random
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import pytest

from holdfast.core.errors import DamagedError, HoldfastError, NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.repository import CheckReport, LocalDirectory, MemoryStorage, Repository, open_repository
from holdfast.repository.packs import DATA, HEADER, RECORD_HEAD, open_table
from holdfast.repository.storage.port import StorageError
from tests.support.disks import changed, whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, restored

HEADER_TYPE = 28
"""Where a pack says whether it holds data or nodes. (All nodes of these disks fit into one record.)"""
DEFINITION = b"<domain>" + b"device" * 40

EVERY = 3
"""Of so many bytes one is flipped, in each object of a kind another: no field that is told apart is that short."""


@dataclass
class Made:
    """An undamaged repository and what its points hold, by (point id, disk or "definition")."""

    objects: dict[str, bytes]
    held: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def holds(self, point: RestorePoint, contents: Mapping[str, bytes]) -> None:
        self.held.update({(point.id, name): content for name, content in contents.items()})

    def names(self, prefix: str) -> list[str]:
        found = sorted(name for name in self.objects if name.startswith(prefix))
        assert found
        return found

    def but(self, name: str, content: bytes | None) -> dict[str, bytes]:
        """The objects, one of them changed, or missing."""
        return {each: held for each, held in self.objects.items() if each != name} | (
            {} if content is None else {name: content}
        )


def compressible(seed: int, blocks: int) -> bytes:
    """Different in every block, and small when stored."""
    return b"".join(b"%06d-%d " % (seed, block) * 512 for block in range(blocks))[: blocks * 4096 - 100]


@pytest.fixture(scope="module")
def small() -> Made:
    """Two points of one machine: one disk, a definition; every object a few hundred bytes."""
    return two_points(compressible(1, 3), compressible(2, 1))


@pytest.fixture(scope="module")
def large() -> Made:
    """The same with packs of many incompressible records."""
    return two_points(random.Random(1).randbytes(2_000_000), random.Random(2).randbytes(700_000))


def two_points(first: bytes, edit: bytes) -> Made:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.mover.pool.worker_count", lambda: 1)
        storage = MemoryStorage()
        repository = new_repository(storage)
        made = Made(storage.objects)
        point = back_up_disks(repository, [whole(first)], definition=DEFINITION).point
        made.holds(point, {"vda": first, "definition": DEFINITION})
        second = edit + first[len(edit) :]
        point = back_up_disks(repository, [changed(second, first)], parent=point, definition=DEFINITION).point
        made.holds(point, {"vda": second, "definition": DEFINITION})
    return made


@dataclass
class Outcome:
    """What became of a damaged repository: why it does not open, what does not restore, what the check says."""

    opened: HoldfastError | None = None
    lost: dict[tuple[str, str], HoldfastError] = field(default_factory=dict)
    report: CheckReport | None = None

    @property
    def exact(self) -> bool:
        return self.opened is None and not self.lost

    @property
    def reported(self) -> set[str]:
        return {damage.object for damage in self.report.damage} if self.report else set()


def stored(objects: dict[str, bytes]) -> MemoryStorage:
    storage = MemoryStorage()
    storage.objects = objects
    return storage


def examine(made: Made, objects: dict[str, bytes]) -> Outcome:
    """Open, restore everything, check. Anything but exact bytes or an error of ours fails right here."""
    outcome = Outcome()
    try:
        repository = open_repository(stored(objects), PASSPHRASE)
        points = {point.id: point for point in repository.points()}
    except HoldfastError as error:
        outcome.opened = error
        return outcome
    for (point_id, name), expected in made.held.items():
        try:
            assert read(repository, points, point_id, name) == expected, f"wrong bytes of {name} of {point_id}"
        except HoldfastError as error:
            outcome.lost[point_id, name] = error
    outcome.report = repository.check(Silence())
    require_consistent(outcome.report, outcome)
    return outcome


def read(repository: Repository, points: Mapping[str, RestorePoint], point_id: str, name: str) -> bytes:
    if point_id not in points:
        raise NotFoundError(f"no point {point_id}")
    if name == "definition":
        xml = points[point_id].definition.xml
        assert xml is not None
        return repository.read_blob(xml)
    return restored(repository, points[point_id], name)


def require_consistent(report: CheckReport, outcome: Outcome) -> None:
    """The check names exactly the disks that do not restore."""
    assert report.ok == (not report.damage)
    named = {(damage.point, damage.disk) for damage in report.damage if damage.point}
    assert named == {place for place, error in outcome.lost.items() if not isinstance(error, NotFoundError)}
    for damage in report.damage:
        if damage.point:
            assert damage.machine == "web"
            assert damage.offset is not None
            assert damage.length or damage.disk == "definition", "how long it was is lost with it"


def require_served_or_named(name: str, outcome: Outcome) -> None:
    if outcome.opened is not None:
        assert isinstance(outcome.opened, DamagedError)
        assert name in outcome.opened.message
        assert outcome.opened.hint
    else:
        assert name in outcome.reported, f"{name}: {outcome.report}"


def flipped(content: bytes, offset: int, bit: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ (1 << bit)]) + content[offset + 1 :]


# --- one flipped byte -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["config", "keys/", "log/", "index/"])
def test_a_flipped_byte_in_anything_but_a_pack_costs_nothing_and_is_reported(small: Made, prefix: str) -> None:
    bits = random.Random(7)
    for number, name in enumerate(small.names(prefix)):
        content = small.objects[name]
        for offset in range(number % EVERY, len(content), EVERY):
            outcome = examine(small, small.but(name, flipped(content, offset, bits.randrange(8))))
            assert outcome.exact, f"{name}, byte {offset}: {outcome.opened} {outcome.lost}"
            assert outcome.reported == {name}, f"{name}, byte {offset}"


def test_a_flipped_byte_anywhere_in_a_pack_costs_one_record_at_most_and_is_reported(small: Made) -> None:
    bits = random.Random(8)
    for number, name in enumerate(small.names("packs/")):
        content = small.objects[name]
        records = sealed_ranges(small, name)
        for offset in range(number % EVERY, len(content), EVERY):
            outcome = examine(small, small.but(name, flipped(content, offset, bits.randrange(8))))
            assert outcome.opened is None
            assert name in outcome.reported, f"{name}, byte {offset}"
            hurts = any(offset in sealed for sealed in records)
            assert bool(outcome.lost) == hurts, f"{name}, byte {offset}: {outcome.lost}"
            assert all(isinstance(error, DamagedError) and error.hint for error in outcome.lost.values())


def sealed_ranges(made: Made, name: str) -> list[range]:
    """Where the sealed bytes of each record of a pack are."""
    keys = open_repository(stored(dict(made.objects)), PASSPHRASE).keys
    blob = made.objects[name]

    def part(offset: int, length: int) -> bytes:
        return blob[offset : offset + length]

    rows = open_table(keys, part, len(blob), name)[1].records
    return [range(int(row["offset"]), int(row["offset"]) + int(row["packed"])) for row in rows]


def test_in_a_large_pack_the_check_names_the_range_that_is_lost_and_no_other(large: Made) -> None:
    spots = random.Random(9)
    for name in large.names("packs/"):
        records = sealed_ranges(large, name)
        content = large.objects[name]
        structure = [
            *range(HEADER.size + 8),
            *range(len(content) - 24, len(content)),
            *(each.start - RECORD_HEAD.size for each in records),
            *(each.start for each in records),
            *(each.stop - 1 for each in records),
        ]
        anywhere = [spots.randrange(len(content)) for _ in range(60)]
        for offset in [*spots.sample(structure, 40), *anywhere]:
            objects = large.but(name, flipped(content, offset, spots.randrange(8)))
            outcome = examine(large, objects)
            assert outcome.opened is None
            assert name in outcome.reported
            assert bool(outcome.lost) == any(offset in sealed for sealed in records)
            if content[HEADER_TYPE] == DATA:
                require_exact_but_where_named(large, objects, outcome)


def require_exact_but_where_named(made: Made, objects: dict[str, bytes], outcome: Outcome) -> None:
    """Every 64 KiB window of a disk reads exactly, or is covered by a range that the check names."""
    assert outcome.report is not None
    repository = open_repository(stored(objects), PASSPHRASE)
    points = {point.id: point for point in repository.points()}
    for point_id, name in outcome.lost:
        disk = points[point_id].disk(name)
        if disk is None:
            continue  # a definition is lost as a whole
        named = [
            range(damage.offset or 0, (damage.offset or 0) + (damage.length or 0))
            for damage in outcome.report.damage
            if (damage.point, damage.disk) == (point_id, name)
        ]
        assert sum(map(len, named)) < disk.size_bytes, "one record's damage was reported as the whole disk's"
        reader = repository.open_disk(disk.root)
        for at in range(0, disk.size_bytes, 65536):
            length = min(65536, disk.size_bytes - at)
            overlaps = any(at < each.stop and each.start < at + length for each in named)
            try:
                assert reader.read(at, length) == made.held[point_id, name][at : at + length]
            except DamagedError:
                assert overlaps, f"bytes from {at} are lost, and the check does not say so"


# --- truncated, deleted, exchanged, added to --------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["config", "keys/", "log/", "index/", "packs/"])
def test_a_truncated_object_is_exact_or_a_clear_error_and_reported(small: Made, prefix: str) -> None:
    for name in small.names(prefix):
        content = small.objects[name]
        middle = len(content) // 2
        for length in {0, 1, middle - 1, middle, middle + 1, len(content) - 1, *range(0, len(content), 37)}:
            outcome = examine(small, small.but(name, content[:length]))
            require_served_or_named(name, outcome)
            if prefix in {"config", "keys/", "index/"}:
                assert outcome.exact
            if prefix == "log/":
                assert outcome.exact == (length >= middle), f"{name} cut to {length}: the first half is enough"


@pytest.mark.parametrize("garbage", [b"\0", b"HFf1", b"x" * 100, bytes(1_000_000)], ids=["1", "4", "100", "1000000"])
def test_bytes_added_to_an_object_cost_nothing_and_are_reported(small: Made, garbage: bytes) -> None:
    for name in small.objects:
        outcome = examine(small, small.but(name, small.objects[name] + garbage))
        assert outcome.exact, f"{name}: {outcome.opened} {outcome.lost}"
        assert outcome.reported == {name}


def test_an_object_with_another_ones_content_is_exact_or_a_clear_error_and_reported(small: Made) -> None:
    for name, other in permutations(small.objects, 2):
        if small.objects[name] != small.objects[other]:
            require_served_or_named(name, examine(small, small.but(name, small.objects[other])))


def test_a_missing_object_is_exact_or_a_clear_error_and_reported(small: Made) -> None:
    newest = small.names("log/")[-1]
    for name in small.objects:
        outcome = examine(small, small.but(name, None))
        match name.partition("/")[0]:
            case "config" | "config.2":
                assert outcome.exact
                assert outcome.reported == {name}
            case "index":
                assert outcome.exact
                assert outcome.report is not None
                kinds = {damage.kind for damage in outcome.report.damage}
                assert kinds == {"unlisted"}, "points need packs that no index object lists"
            case "packs":
                assert outcome.lost
                assert name in outcome.reported
            case "keys":
                assert outcome.exact
                assert outcome.reported == {name} & {"keys/1"}, "the next backup puts the second name again"
            case _ if name == newest:
                assert len(outcome.lost) == 2  # as if it had never been: only one who remembers it can tell
            case _:
                assert isinstance(outcome.opened, DamagedError)
                assert name in outcome.opened.message


def test_a_log_that_lost_its_end_is_noticed_as_soon_as_anything_was_built_on_it(small: Made) -> None:
    """The index objects of the second backup say that its writer had read two entries."""
    entries = small.names("log/")
    storage = stored({name: content for name, content in small.objects.items() if name not in entries[1:]})
    before = set(storage.objects)
    repository = open_repository(storage, PASSPHRASE)
    report = repository.check(Silence())
    assert not report.ok
    assert entries[1] in {damage.object for damage in report.damage}
    with pytest.raises(DamagedError, match=entries[1]):
        back_up_disks(repository, [whole(b"x" * 5000)])
    assert set(storage.objects) == before, "an entry was put where one is lost"


def test_a_log_without_its_first_entry_is_no_log(small: Made) -> None:
    storage = stored({name: content for name, content in small.objects.items() if not name.startswith("log/")})
    with pytest.raises(DamagedError, match="log/000000000001"):
        open_repository(storage, PASSPHRASE)


def test_an_object_as_large_as_a_disk_is_not_read_into_memory(small: Made, tmp_path: Path) -> None:
    """Whether its beginning is genuine or not: a hole of a terabyte costs its owner nothing."""
    for number, name in enumerate(small.objects):
        for keep in (True, False):
            place = tmp_path / f"{number}-{keep}"
            lay_out_objects(small.objects, place)
            with (place / name).open("r+b") as file:
                file.truncate(file.seek(0, os.SEEK_END) if keep else 0)
                file.truncate(1 << 40)
            before = peak_memory()
            if name.startswith("log/"):
                with pytest.raises(StorageError, match=name):
                    open_repository(LocalDirectory.open(place), PASSPHRASE)
            else:
                repository = open_repository(LocalDirectory.open(place), PASSPHRASE)
                assert name in {damage.object for damage in repository.check(Silence()).damage}
                restore_what_can_be(small, repository)
            assert peak_memory() - before < 200 << 20


def lay_out_objects(objects: Mapping[str, bytes], place: Path) -> None:
    for name, content in objects.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def restore_what_can_be(made: Made, repository: Repository) -> None:
    points = {point.id: point for point in repository.points()}
    for (point_id, name), expected in made.held.items():
        with suppress(HoldfastError):
            assert read(repository, points, point_id, name) == expected


def test_damages_that_leave_one_good_copy_of_everything_cost_nothing(small: Made) -> None:
    """One configuration, the first half of all twins, every index object, the front table of every pack."""
    objects = dict(small.objects)
    for name, content in small.objects.items():
        match name.partition("/")[0]:
            case "config" | "index":
                objects[name] = b"garbage"
            case "keys" | "log":
                objects[name] = bytes(len(content) // 2) + content[len(content) // 2 :]
            case "packs":
                objects[name] = content[:70] + bytes(20) + content[90:]
            case _:
                assert name == "config.2"
    outcome = examine(small, objects)
    assert outcome.exact
    assert outcome.reported == set(objects) - {"config.2"}
