"""Images keep the contracts of captures and of target disks."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.ports import TargetDisk
from holdfast.platforms.image import capture_images, target_file
from tests.contract.capture import CaptureContract, Captured
from tests.contract.target_disk import SIZE, Make, TargetDiskContract

MIB = 1024**2


def scattered_raw(path: Path, size: int) -> Path:
    """A sparse file with data here and there, at the very beginning and at the very end."""
    chance = random.Random(path.name)
    with path.open("wb") as file:
        file.truncate(size)
        for offset in (0, 3 * MIB + 5 * 4096, 20 * MIB, size - 4096 - size % 4096):
            os.pwrite(file.fileno(), chance.randbytes(min(200_000, size - offset)), offset)
    return path


def as_qcow2(raw: Path, path: Path) -> Path:
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    return path


class TestRawImages(CaptureContract):
    @pytest.fixture
    def captured(self, tmp_path: Path) -> Iterator[Captured]:
        disks = {
            "even": scattered_raw(tmp_path / "a.raw", 32 * MIB),
            "odd": scattered_raw(tmp_path / "b", 40 * MIB + 7),
        }
        with capture_images("images", disks) as capture:
            yield Captured(capture=capture, references=disks)


class TestQcow2Images(CaptureContract):
    @pytest.fixture
    def captured(self, tmp_path: Path) -> Iterator[Captured]:
        raw = scattered_raw(tmp_path / "reference.raw", 32 * MIB)
        with capture_images("images", {"vda": as_qcow2(raw, tmp_path / "disk.qcow2")}) as capture:
            yield Captured(capture=capture, references={"vda": raw})


class TestQcow2OnBackingFiles(CaptureContract):
    @pytest.fixture
    def captured(self, tmp_path: Path) -> Iterator[Captured]:
        base = as_qcow2(scattered_raw(tmp_path / "reference.raw", 32 * MIB), tmp_path / "base.qcow2")
        top = tmp_path / "top.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", top], check=True)
        script = ["-c", "write -P 7 1M 100k", "-c", "discard 20M 64k", "-c", "write -P 9 30M 64k"]
        subprocess.run(["qemu-io", "-f", "qcow2", *script, top], check=True, stdout=subprocess.DEVNULL)
        reference = tmp_path / "expected.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", top, reference], check=True)
        with capture_images("images", {"vda": top}) as capture:
            yield Captured(capture=capture, references={"vda": reference})


class TestRawTarget(TargetDiskContract):
    @pytest.fixture
    def make(self) -> Make:
        return lambda path: target_file(path, SIZE, "raw")

    def read_back(self, path: Path) -> bytes:
        return path.read_bytes()

    def test_what_was_not_written_takes_no_space(self, make: Make, output: Path) -> None:
        target = make(output)
        target.open_writer().close()
        target.finish()
        assert output.stat().st_blocks == 0


class TestQcow2Target(TargetDiskContract):
    @pytest.fixture
    def make(self) -> Make:
        def make(path: Path) -> TargetDisk:
            return target_file(path, SIZE, "qcow2")

        return make

    def read_back(self, path: Path) -> bytes:
        raw = path.with_suffix(".raw")
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
        return raw.read_bytes()
