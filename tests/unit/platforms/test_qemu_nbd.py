"""The qemu-nbd children: they say why they fail, and never outlive us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.core.errors import FailedError
from holdfast.platforms.files.chain import block_device, image_device, read_chain
from holdfast.platforms.nbd.client import NbdReader, NbdWriter, data_extents
from holdfast.platforms.nbd.server import QemuNbd
from tests.testbed.scratch import scratch_directory

SERVE_AND_WAIT = """
import sys
from pathlib import Path
from holdfast.platforms.image import capture_images
with capture_images("m", {"vda": Path(sys.argv[1])}):
    print("serving", flush=True)
    sys.stdin.read()
"""


def qcow2(path: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    return path


def servers_of(image: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"qemu-nbd") and str(image).encode() in command:
            found.append(int(process.name))
    return found


def test_what_is_written_is_there_after_it_was_stopped(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    server = QemuNbd("vda", image_device(image, "qcow2"), [])
    writer = NbdWriter(server.export)
    writer.write(1 << 20, memoryview(b"x" * 100_000))
    writer.close()
    server.stop()
    with QemuNbd("vda", block_device(read_chain(image, "qcow2")), ["--read-only"]) as again:
        buffer = bytearray(100_000)
        NbdReader(again.export).read_into(1 << 20, memoryview(buffer))
        assert buffer == b"x" * 100_000
        assert [extent.start for extent in data_extents(again.export)] == [1 << 20]


def test_an_image_it_cannot_open_is_reported_in_its_own_words(tmp_path: Path) -> None:
    broken = tmp_path / "disk.qcow2"
    broken.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(FailedError, match=r"cannot serve vda: .*not in qcow2 format"):
        QemuNbd("vda", image_device(broken, "qcow2"), ["--read-only"])
    assert servers_of(broken) == []


def test_a_killed_program_takes_its_servers_with_it(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    with scratch_directory() as temporary:
        program = subprocess.Popen(
            [sys.executable, "-c", SERVE_AND_WAIT, image],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        assert program.stdout is not None
        assert program.stdout.readline() == b"serving\n"
        assert len(servers_of(image)) == 1
        os.kill(program.pid, signal.SIGKILL)
        program.communicate()
        deadline = time.monotonic() + 10
        while servers_of(image):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_server_that_is_gone_is_an_error_that_names_disk_and_offset(tmp_path: Path) -> None:
    image = qcow2(tmp_path / "disk.qcow2")
    with QemuNbd("vda", image_device(image, "qcow2"), []) as server:
        reader = NbdReader(server.export)
        (process,) = servers_of(image)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(FailedError, match="vda: reading 512 bytes at 4096"):
            reader.read_into(4096, memoryview(bytearray(512)))
        with pytest.raises(FailedError, match="vda: connecting"):
            list(data_extents(server.export))
