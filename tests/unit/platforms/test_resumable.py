"""What a try of a restore leaves is compared with what is wanted, and completed."""

import subprocess
from pathlib import Path
from typing import Literal

import pytest

from holdfast.core.errors import ConflictError, DamagedError, HoldfastError, RefusedError
from holdfast.core.extents import Extent
from holdfast.platforms.files.resumable import ResumableFile
from holdfast.platforms.files.target import TargetFile

SIZE = (1 << 20) + 512 + 100
Format = Literal["raw", "qcow2"]


@pytest.fixture(params=["raw", "qcow2"])
def image_format(request: pytest.FixtureRequest) -> Format:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


def size_for(image_format: Format) -> int:
    return SIZE if image_format == "raw" else SIZE // 512 * 512


def left_by_a_try(path: Path, image_format: Format) -> Path:
    target = ResumableFile(path, size_for(image_format), image_format)
    assert target.left_over is None
    target.reserve([Extent(0, 1 << 20)])
    writer = target.open_writer()
    writer.write(65536, memoryview(b"a" * 65536))
    writer.close()
    target.abandon()
    return path.with_name("disk.img.partial")


def content_of(path: Path, image_format: Format) -> bytes:
    raw = path.with_suffix(".copy")
    subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, raw], check=True)
    return raw.read_bytes()[: size_for(image_format)]


def test_the_next_try_sees_what_is_there_and_writes_the_rest(path: Path, image_format: Format) -> None:
    draft = left_by_a_try(path, image_format)
    assert draft.exists()
    target = ResumableFile(path, size_for(image_format), image_format)
    left = target.left_over
    assert left is not None
    assert left.size_bytes == size_for(image_format)
    assert left.changes() is None
    reader, editor = left.open_reader(), left.open_editor()
    seen = memoryview(bytearray(3 * 65536))
    reader.read_into(0, seen)
    assert bytes(seen) == bytes(65536) + b"a" * 65536 + bytes(65536)
    editor.zero(65536, 4096)
    editor.write(left.size_bytes - 5, memoryview(b"end!!"))
    editor.close()
    reader.close()
    target.finish()
    expected = bytearray(size_for(image_format))
    expected[65536 + 4096 : 2 * 65536] = b"a" * (65536 - 4096)
    expected[-5:] = b"end!!"
    assert content_of(path, image_format) == expected
    assert not draft.exists()


def test_a_disk_that_was_finished_becomes_a_draft_again_if_its_machine_does_not_come_to_be(path: Path) -> None:
    target = ResumableFile(path, SIZE, "raw")
    target.finish()
    target.withdraw()
    assert [each.name for each in path.parent.iterdir()] == ["disk.img.partial"]


def test_two_do_not_write_one_draft(path: Path) -> None:
    first = ResumableFile(path, SIZE, "raw")
    with pytest.raises(ConflictError, match="another restore"):
        ResumableFile(path, SIZE, "raw")
    first.abandon()
    ResumableFile(path, SIZE, "raw").finish()


def test_what_cannot_be_an_earlier_try_is_refused_and_kept(path: Path, image_format: Format) -> None:
    draft = path.with_name("disk.img.partial")
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, draft, "8M"], check=True)
    with pytest.raises(RefusedError, match="8388608 bytes"):
        ResumableFile(path, size_for(image_format), image_format)
    assert draft.exists()


def test_a_draft_that_a_power_cut_damaged_is_refused(path: Path) -> None:
    draft = left_by_a_try(path, "qcow2")
    draft.write_bytes(draft.read_bytes()[:200_000])
    with pytest.raises(DamagedError):
        ResumableFile(path, size_for("qcow2"), "qcow2")


@pytest.mark.parametrize("again", ["raw", "qcow2"])
def test_a_draft_that_is_being_written_is_not_gone_on_with(path: Path, again: Format) -> None:
    first = TargetFile(path, size_for(again), again)
    first_writer = first.open_writer()
    first_writer.write(0, memoryview(b"a" * 4096))
    with pytest.raises(HoldfastError, match=r"another restore|lock"):
        ResumableFile(path, size_for(again), again)
    first_writer.write(65536, memoryview(b"a" * 4096))
    first_writer.close()
    first.finish()
    assert content_of(path, again) == b"a" * 4096 + bytes(61440) + b"a" * 4096 + bytes(size_for(again) - 65536 - 4096)
