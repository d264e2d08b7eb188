"""That a write to a block device is seen, whose times say nothing."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import FailedError
from holdfast.platforms.files.chain import read_chain
from holdfast.platforms.files.witness import Witness


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    yield Path(made.stdout.strip())
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_a_write_to_a_block_device_is_noticed_even_in_the_page_cache(device: Path) -> None:
    witness = Witness.of([device])
    assert list(witness.doubts()) == []
    device.read_bytes()
    witness.confirm()
    with device.open("r+b") as file:
        file.write(b"x" * 4096)
        file.flush()
        with pytest.raises(FailedError, match=f"{device} was changed while it was read"):
            witness.confirm()


def test_a_block_device_is_raw_whatever_it_holds(device: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", device, "1M"], check=True)
    assert read_chain(device, None)[0].format == "raw"
