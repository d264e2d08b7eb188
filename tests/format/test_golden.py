"""Repositories made by every format there was restore, check and take new points, for ever."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from holdfast.core.progress import Silence
from holdfast.mover import restore_disk
from holdfast.repository import LocalDirectory, Repository, open_repository
from holdfast.repository.config import FORMAT
from tests.format.reader import Reader
from tests.support.disks import ModelTarget, whole
from tests.support.repositories import back_up_disks, restored

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("v*/"))


@pytest.fixture(params=GOLDEN, ids=[folder.name for folder in GOLDEN])
def golden(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def expected_of(golden: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    return expected


def opened(golden: Path, directory: Path | None = None) -> Repository:
    passphrase = expected_of(golden)["passphrase"].encode()
    return open_repository(LocalDirectory.open(directory or golden / "repository"), passphrase)


def test_every_format_has_a_golden_repository() -> None:
    assert [folder.name for folder in GOLDEN] == [f"v{number}" for number in range(1, FORMAT + 1)], (
        "run .venv/bin/python -m tests.format.make_golden and keep what it makes"
    )


def test_its_points_are_listed(golden: Path) -> None:
    expected = expected_of(golden)["points"]
    points = opened(golden).points()
    assert [point.id for point in points] == [point["id"] for point in expected]
    for point, was in zip(points, expected, strict=True):
        assert (point.machine, point.capture) == (was["machine"], was["capture"])
        assert point.captured_at.isoformat() == was["captured_at"]
        assert {disk.name: disk.size_bytes for disk in point.disks} == {
            name: disk["size_bytes"] for name, disk in was["disks"].items()
        }


def test_its_disks_and_definitions_are_restored_byte_for_byte(golden: Path) -> None:
    repository = opened(golden)
    for point, was in zip(repository.points(), expected_of(golden)["points"], strict=True):
        for disk in point.disks:
            target = ModelTarget(disk.size_bytes)
            restore_disk(repository, disk, target, progress=Silence())
            assert blake3(target.content).hexdigest() == was["disks"][disk.name]["blake3"]
        for blob, digest in ((point.definition.xml, was["definition"]), (point.definition.nvram, was["nvram"])):
            assert (blob and blake3(repository.read_blob(blob)).hexdigest()) == digest


def test_it_is_undamaged(golden: Path) -> None:
    report = opened(golden).check(Silence())
    assert report.damage == ()
    assert report.ok


def test_it_takes_new_points_that_share_what_it_holds(golden: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(golden / "repository", tmp_path / "copy"))
    repository = opened(golden, copy)
    (parent, *_) = repository.points()
    content = restored(repository, parent)
    outcome = back_up_disks(repository, [whole(content)], machine="new")
    assert outcome.sent_bytes == 0
    assert outcome.point.disks[0].root == parent.disks[0].root
    again = opened(golden, copy)
    assert restored(again, again.points()[-1]) == content


def test_the_reader_restores_it(golden: Path, tmp_path: Path) -> None:
    expected = expected_of(golden)
    reader = Reader(golden / "repository", expected["passphrase"].encode())
    for point, was in zip(reader.points, expected["points"], strict=True):
        for disk in point["disks"]:
            output = tmp_path / "disk"
            reader.restore(disk["root"], output)
            assert blake3(output.read_bytes()).hexdigest() == was["disks"][disk["name"]]["blake3"]
            output.unlink()
