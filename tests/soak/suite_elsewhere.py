"""An exported image of every format boots in a machine that Holdfast did not make, and QEMU writes to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.foreign import Origin, assert_is_origin, back_up_origin, boot_plain, image_source, nbd_source
from tests.e2e.protected import wait_until
from tests.testbed.lab import Lab
from tests.testbed.scratch import scratch_directory

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def origin(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return back_up_origin(lab, tmp_path_factory)


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk"])
def test_an_exported_image_boots(origin: Origin, tmp_path: Path, image_format: str) -> None:
    image = tmp_path / f"origin.{image_format}"
    origin.export(image_format, image)
    assert_is_origin(boot_plain(origin.lab, image_format, image_source(image, image_format)), "/dev/sda")


def test_an_exported_vhdx_boots(origin: Origin, tmp_path: Path) -> None:
    """Libvirt knows no such images; QEMU's driver serves it."""
    image = tmp_path / "origin.vhdx"
    origin.export("vhdx", image)
    with served(image, "vhdx") as socket:
        assert_is_origin(boot_plain(origin.lab, "vhdx", nbd_source(socket)), "/dev/sda")


@contextmanager
def served(image: Path, image_format: str) -> Iterator[Path]:
    with scratch_directory() as directory:
        socket = directory / "nbd"
        server = subprocess.Popen(["qemu-nbd", "--persistent", "-f", image_format, "-k", socket, image])
        try:
            wait_until(socket.exists)
            yield socket
        finally:
            server.terminate()
            server.wait()
