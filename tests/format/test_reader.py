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
from holdfast.repository import LocalDirectory, Repository
from tests.format.reader import FormatError, Reader
from tests.support.disks import CapturedModel, ModelDisk
from tests.support.repositories import PASSPHRASE, SMALL_CUT, back_up_disks, new_repository

SIZES = (1, 4096, 12_289, 700_001, 5_000_000)  # trees of depth 0, 1 and 2, and sizes that are no multiple of anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A point, and what its disks, its definition and its firmware variables were."""

    point: RestorePoint
    disks: dict[str, bytes]
    definition: bytes
    nvram: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """A repository that the product wrote."""

    directory: Path
    history: list[Stored]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory = tmp_path_factory.mktemp("format") / "repository"
    repository = new_repository(LocalDirectory.create(directory), SMALL_CUT)
    return Written(directory, list(make_history(repository, random.Random(7))))


def make_history(repository: Repository, chance: random.Random) -> Iterator[Stored]:
    """A full and three increments of a machine whose disks are written to, trimmed and enlarged."""
    disks = [ModelDisk(f"vd{letter}", bytes(size)) for letter, size in zip("abcde", SIZES, strict=True)]
    parent = None
    for age in range(4):
        for disk in disks:
            edit(chance, disk)
        definition, nvram = b"<domain/>" * (age + 1), bytes(70_000) + b"firmware"
        captured = [
            CapturedModel(name=disk.name, content=bytes(disk.content), held=disk.allocated, changed=disk.dirty)
            for disk in disks
        ]
        parent = back_up_disks(
            repository, captured, parent=parent, machine="hörst", definition=definition, nvram=nvram
        ).point
        contents = {disk.name: disk.content for disk in captured}
        yield Stored(point=parent, disks=contents, definition=definition, nvram=nvram)
        for disk in disks:
            disk.dirty = []


def edit(chance: random.Random, disk: ModelDisk) -> None:
    disk.resize(disk.size + chance.choice([0, 1, 10_000, 300_000]))
    for _ in range(15):
        offset, length = chance.randrange(disk.size), chance.randrange(1, 60_000)
        disk.write(offset, chance.choice([bytes(length), chance.randbytes(length), b"holdfast" * (length // 8)]))
    disk.trim(chance.randrange(disk.size), 30_000)


@pytest.fixture
def damaged(written: Written, tmp_path: Path) -> Path:
    """A copy of the repository, to be damaged."""
    return Path(shutil.copytree(written.directory, tmp_path / "damaged"))


def test_a_stranger_restores_every_disk_of_every_point(written: Written, tmp_path: Path) -> None:
    reader = Reader(written.directory, PASSPHRASE)
    assert [point["id"] for point in reader.points] == [stored.point.id for stored in written.history]
    for stored in written.history:
        for disk in stored.point.disks:
            output = tmp_path / f"{stored.point.id}-{disk.name}"
            reader.restore(disk.root, output)
            assert output.read_bytes() == stored.disks[disk.name]


def test_a_stranger_reads_definitions_as_small_disks(written: Written, tmp_path: Path) -> None:
    reader = Reader(written.directory, PASSPHRASE)
    for stored in written.history:
        definition = stored.point.definition
        for number, (root, expected) in enumerate(
            [(definition.xml, stored.definition), (definition.nvram, stored.nvram)]
        ):
            assert root is not None
            output = tmp_path / f"{stored.point.id}-{number}"
            reader.restore(root, output)
            assert output.read_bytes() == expected


def test_a_stranger_cannot_read_without_the_passphrase(written: Written) -> None:
    with pytest.raises(FormatError, match="opens no slot"):
        Reader(written.directory, b"guess")


@pytest.mark.parametrize("name", ["config", "config.2", "keys/1", "log/000000000001", "log/000000000003"])
@pytest.mark.parametrize("half", [0, 1])
def test_what_the_page_calls_redundant_is(written: Written, damaged: Path, name: str, half: int) -> None:
    blob = bytearray((damaged / name).read_bytes())
    blob[half * len(blob) // 2 + 20] ^= 1
    (damaged / name).write_bytes(blob)
    assert len(Reader(damaged, PASSPHRASE).points) == len(written.history)


def test_a_log_with_a_hole_is_refused(damaged: Path) -> None:
    (damaged / "log/000000000002").unlink()
    with pytest.raises(FormatError, match="entry 2 is missing"):
        Reader(damaged, PASSPHRASE)


def test_a_configuration_with_other_secrets_is_refused(damaged: Path, tmp_path: Path) -> None:
    other = new_repository(LocalDirectory.create(tmp_path / "other"))
    (damaged / "config").write_bytes(other.storage.get("config"))
    with pytest.raises(FormatError):
        Reader(damaged, PASSPHRASE)


def test_a_changed_byte_of_a_record_is_never_restored(written: Written, damaged: Path, tmp_path: Path) -> None:
    for pack in (damaged / "packs").glob("*/*"):
        blob = bytearray(pack.read_bytes())
        blob[len(blob) // 2] ^= 1
        pack.write_bytes(blob)
    reader = Reader(damaged, PASSPHRASE)
    refused = 0
    for stored in written.history:
        for disk in stored.point.disks:
            output = tmp_path / f"{stored.point.id}-{disk.name}"
            try:
                reader.restore(disk.root, output)
            except FormatError:
                refused += 1
            else:
                assert output.read_bytes() == stored.disks[disk.name]
    assert refused > 0


def test_the_reader_knows_nothing_of_the_product() -> None:
    source = Path(__file__).with_name("reader.py").read_text(encoding="utf-8")
    assert "import holdfast" not in source
    assert "from holdfast" not in source
    assert len(source.splitlines()) <= 400


def test_the_reader_is_a_program(written: Written, tmp_path: Path) -> None:
    first = written.history[0]
    command = [sys.executable, str(Path(__file__).with_name("reader.py")), str(written.directory)]
    environment = {**os.environ, "HOLDFAST_PASSPHRASE": PASSPHRASE.decode()}
    listed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [stored.point.id for stored in written.history]
    output = tmp_path / "vdc"
    subprocess.run([*command, first.point.id, "vdc", str(output)], env=environment, check=True)
    assert output.read_bytes() == first.disks["vdc"]
