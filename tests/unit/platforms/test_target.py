"""A restored image: room is made in advance where that helps, and what is not written stays a hole."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import FullError, RefusedError
from holdfast.core.extents import Extent
from holdfast.platforms.files.target import TargetFile

MIB = 1 << 20


@contextmanager
def mounted(kind: str, directory: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", kind, "-o", "size=8m", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.fixture(params=["tmpfs", "ramfs"])
def file_system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """One that makes room in advance, and one that cannot."""
    with mounted(request.param, tmp_path):
        yield tmp_path


def held_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_room_is_made_for_long_extents_only_and_reads_as_zeros(tmp_path: Path) -> None:
    target = TargetFile(tmp_path / "disk", 16 * MIB, "raw")
    target.reserve([Extent(0, 4096), Extent(2 * MIB, 5 * MIB)])
    target.finish()
    assert held_bytes(tmp_path / "disk") == 3 * MIB
    assert (tmp_path / "disk").read_bytes() == bytes(16 * MIB)


def test_it_is_written_wherever_room_can_be_made(file_system: Path) -> None:
    target = TargetFile(file_system / "disk", 16 * MIB, "raw")
    target.reserve([Extent(MIB, 3 * MIB)])
    writer = target.open_writer()
    writer.write(MIB, memoryview(b"x" * 4096))
    writer.close()
    target.finish()
    assert (file_system / "disk").read_bytes() == bytes(MIB) + b"x" * 4096 + bytes(15 * MIB - 4096)


def test_a_device_that_is_not_there_is_no_file_in_memory() -> None:
    with pytest.raises(RefusedError, match="/dev"):
        TargetFile(Path("/dev/loop77-that-is-not"), MIB, "raw")


def test_a_file_system_without_that_room_is_said_to_be_full(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path):
        target = TargetFile(tmp_path / "disk", 16 * MIB, "raw")
        with pytest.raises(FullError, match="making room"):
            target.reserve([Extent(0, 16 * MIB)])
        target.abandon()
        assert list(tmp_path.iterdir()) == []
