"""docs/format.md is enough to read a repository: the reader written from it restores what the product stored."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.core.point import RestorePoint
from holdfast.core.progress import Silence
from holdfast.mover import back_up
from holdfast.repository import KdfCost, LocalDirectory, Repository, create_repository
from tests.format.machines import BLOCK, Disk, Machine, file_digest, mixed_bytes
from tests.format.reader import FormatError, Reader

PASSPHRASE = "pass phrase, with a blank and an ü"
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=2)
SIZES = (1, 4096, 12_289, 5 * 2**20 + 700, 300 * 2**20 + 1)  # trees of depth 0, 1 and 2; a disk of one byte


@dataclass(frozen=True, slots=True)
class Stored:
    """A point, and the disks it was made of."""

    point: RestorePoint
    machine: Machine


@dataclass(frozen=True, slots=True)
class Written:
    """A repository that the product wrote."""

    directory: Path
    history: list[Stored]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("format") / "repository"
    repository = create_repository(LocalDirectory.create(directory), PASSPHRASE.encode(), cost=CHEAP)
    return Written(directory, list(make_history(repository, random.Random(7))))


def make_history(repository: Repository, chance: random.Random) -> Iterator[Stored]:
    """A full, three increments that write, trim, zero and grow, and a second machine with much of the same."""
    disks = [Disk(name=f"vd{letter}", size_bytes=size) for letter, size in zip("abcde", SIZES, strict=True)]
    for disk in disks:
        disk.write_blocks(0, mixed_bytes(chance, min(disk.size_bytes, 600_000)))
    disks[-1].write_blocks(290 * 2**20 // BLOCK, mixed_bytes(chance, 100_000))
    parent = None
    for age in range(4):
        machine = Machine(
            machine="hörst", disks=disks, definition=b"<domain/>" * (age + 1), nvram=bytes(700_000) + b"1"
        )
        parent = back_up(machine, repository, parent=parent, progress=Silence()).point
        yield Stored(parent, machine)
        disks = [edit(chance, disk) for disk in disks]
    twin = Machine(machine="twin", disks=[Disk(name="a", size_bytes=SIZES[-1] + 1, blocks=disks[-1].blocks)])
    yield Stored(back_up(twin, repository, parent=None, progress=Silence()).point, twin)


def edit(chance: random.Random, disk: Disk) -> Disk:
    after = disk.next_state(disk.size_bytes + chance.choice([0, 0, 1, 10_000, 5_000_000]))
    for _ in range(12):
        start = chance.randrange(after.size_bytes // BLOCK + 1)
        after.write_blocks(start, chance.choice([bytes(20_000), mixed_bytes(chance, 20_000), b"x"]))
    return after


def test_a_stranger_restores_every_disk_of_every_point(written: Written, tmp_path: Path) -> None:
    reader = Reader(written.directory, PASSPHRASE.encode())
    assert [point["id"] for point in reader.points] == [stored.point.id for stored in written.history]
    for stored in written.history:
        for kept, disk in zip(stored.point.disks, stored.machine.disks, strict=True):
            output = tmp_path / f"{stored.point.id}-{disk.name}"
            reader.restore(kept.root, output)
            assert output.stat().st_size == disk.size_bytes
            assert file_digest(output) == disk.digest()
            output.unlink()


def test_a_stranger_reads_definitions_as_small_disks(written: Written, tmp_path: Path) -> None:
    reader = Reader(written.directory, PASSPHRASE.encode())
    for number, stored in enumerate(written.history[:4]):
        definition = stored.point.definition
        for part, expected in ((definition.xml, stored.machine.definition), (definition.nvram, stored.machine.nvram)):
            assert part is not None
            output = tmp_path / f"{number}-{part}"
            reader.restore(part, output)
            assert output.read_bytes() == expected
            output.unlink()


def test_a_stranger_cannot_read_without_the_passphrase(written: Written) -> None:
    with pytest.raises(FormatError, match="opens no slot"):
        Reader(written.directory, b"guess")


@pytest.mark.parametrize("name", ["config", "config.2", "keys/1", "log/000000000001", "log/000000000003"])
@pytest.mark.parametrize("half", [0, 1])
def test_what_the_page_calls_redundant_is(written: Written, tmp_path: Path, name: str, half: int) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(written.directory, directory)
    blob = bytearray((directory / name).read_bytes())
    blob[half * len(blob) // 2 + 20] ^= 1
    (directory / name).write_bytes(blob)
    assert len(Reader(directory, PASSPHRASE.encode()).points) == len(written.history)


@pytest.mark.parametrize("missing", ["log/000000000002", "config"])
def test_a_log_with_a_hole_and_a_swapped_configuration_are_refused(
    written: Written, tmp_path: Path, missing: str
) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(written.directory, directory)
    if missing == "config":
        other = create_repository(LocalDirectory.create(tmp_path / "other"), PASSPHRASE.encode(), cost=CHEAP)
        (directory / "config").write_bytes(other.storage.get("config"))
    else:
        (directory / missing).unlink()
    with pytest.raises(FormatError):
        Reader(directory, PASSPHRASE.encode())


def test_the_reader_knows_nothing_of_the_product() -> None:
    source = Path(__file__).with_name("reader.py").read_text(encoding="utf-8")
    assert "import holdfast" not in source
    assert "from holdfast" not in source
    assert len(source.splitlines()) <= 250


def test_the_reader_is_a_program(written: Written, tmp_path: Path) -> None:
    first = written.history[0]
    command = [sys.executable, str(Path(__file__).with_name("reader.py")), str(written.directory)]
    environment = {**os.environ, "HOLDFAST_PASSPHRASE": PASSPHRASE}
    listed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [stored.point.id for stored in written.history]
    output = tmp_path / "vdc"
    subprocess.run([*command, first.point.id, "vdc", str(output)], env=environment, check=True)
    assert file_digest(output) == first.machine.disks[2].digest()
