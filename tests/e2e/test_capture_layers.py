"""What lies between a disk's file and the guest: layers that change behind a mark, and what only QEMU can read."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from holdfast.core.errors import RefusedError
from holdfast.core.ports import Baseline, CapturedDisk
from holdfast.platforms.libvirt import connect
from tests.e2e.protected import OPTIONS, Listener
from tests.testbed.hosts import PrivateHost
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest


@contextmanager
def machine(lab: Lab, image: Path, image_format: str, inside: str = "") -> Iterator[str]:
    """A machine that is off, with one disk; its UUID."""
    domain = lab.connection.defineXML(
        "<domain type='qemu'><name>layered</name><memory>1024</memory><os><type>hvm</type></os><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='{image_format}'/><source file='{image}'>{inside}"
        "</source><target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    try:
        yield domain.UUIDString()
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)


def captured(host: PrivateHost, uuid: str, baseline: Baseline | None = None) -> CapturedDisk:
    with connect(host.uri) as platform, platform.capture(uuid, baseline, OPTIONS, Listener()) as capture:
        capture.confirm()
        assert list(capture.settle()) == []
        return capture.disks[0]


def test_a_backing_file_that_was_written_to_is_a_full_read(host: PrivateHost, lab: Lab) -> None:
    base = lab.data_disk("base", size_mib=16, image_format="raw")
    top = base.with_name("top.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top], check=True)
    with machine(lab, top, "qcow2") as uuid:
        disk = captured(host, uuid)
        for content, expected in ((b"", "incremental"), (b"new", "full")):
            with base.open("r+b") as file:
                file.write(content)
            assert disk.mark is not None
            since = Baseline(point="p", sizes={"vda": disk.size_bytes}, marks={"vda": disk.mark})
            disk = captured(host, uuid, since)
            assert disk.capture == expected
        assert "other backing files" in disk.reason


@pytest.mark.parametrize(
    ("inside", "word"),
    [
        ("<encryption format='luks'><secret type='passphrase' usage='none'/></encryption>", "encrypted"),
        ("<slices><slice type='storage' offset='1048576' size='1048576'/></slices>", "slice"),
    ],
)
def test_what_only_qemu_can_read_is_refused_while_the_machine_is_off(
    host: PrivateHost, lab: Lab, inside: str, word: str
) -> None:
    image = lab.data_disk(f"veiled-{word}", size_mib=16, image_format="raw")
    with machine(lab, image, "raw", inside) as uuid, pytest.raises(RefusedError, match=word) as refused:
        captured(host, uuid)
    assert refused.value.hint == "start the machine and back it up running"
