"""A restore that runs out of space names the output, says what to do, and leaves nothing that looks whole."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import FullError
from holdfast.platforms.image import target_file
from tests.testbed.scratch import scratch_directory

pytestmark = pytest.mark.guest
MIB = 1 << 20


@pytest.fixture
def tight() -> Iterator[Path]:
    """A directory on a file system of 8 MiB."""
    with scratch_directory() as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", directory], check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def write_until_full(output: Path, image_format: str) -> None:
    target = target_file(output, 64 * MIB, image_format)
    try:
        writer = target.open_writer()
        for offset in range(0, 64 * MIB, MIB):
            writer.write(offset, memoryview(b"x" * MIB))
        writer.close()
        target.finish()
    finally:
        target.abandon()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_full_disk_ends_the_restore_and_leaves_nothing(tight: Path, image_format: str) -> None:
    with pytest.raises(FullError, match=str(tight / "restored")) as full:
        write_until_full(tight / "restored", image_format)
    assert full.value.hint
    assert list(tight.iterdir()) == []


def test_too_little_space_for_even_an_empty_image_is_said(tight: Path) -> None:
    (tight / "filler").write_bytes(b"x" * (8 * MIB - 65536))
    with pytest.raises(FullError, match="restored"):
        target_file(tight / "restored", 64 * MIB, "qcow2")
    assert [path.name for path in tight.iterdir()] == ["filler"]
