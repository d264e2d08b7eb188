"""A streamOptimized VMDK is what another program reads as the disk."""

import random
import subprocess
from pathlib import Path

import pytest

from holdfast.platforms.files.vmdk import GRAIN_BYTES, StreamOptimized, pack

MIB = 1 << 20


@pytest.mark.parametrize("size", [512, GRAIN_BYTES, 3 * GRAIN_BYTES + 1024, 66 * MIB + 512])
def test_another_program_reads_what_was_written(tmp_path: Path, size: int) -> None:
    source = random.Random(size)
    disk = bytearray(size)
    for _ in range(12):  # some grains, with gaps that leave whole tables out
        at = source.randrange(size + 1)
        disk[at : at + 5000] = source.randbytes(len(disk[at : at + 5000]))
    path, raw = tmp_path / "disk.vmdk", tmp_path / "disk.raw"
    image = StreamOptimized("disk.vmdk", size)
    with path.open("wb") as file:
        file.writelines(image.begin())
        for at in range(0, size, GRAIN_BYTES):
            grain = disk[at : at + GRAIN_BYTES]
            if grain.strip(b"\0"):
                file.writelines(image.grain(at // GRAIN_BYTES, pack(memoryview(grain))))
        file.writelines(image.end())
    assert path.stat().st_size == image.position
    subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, raw], check=True)
    assert raw.read_bytes() == disk
