"""A machine made again from a capture runs beside its original and holds what the original held at the instant."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from holdfast.core.errors import FailedError
from holdfast.core.ports import BlockReader, BlockWriter, Capture, DiskPlan, MachinePlan, Platform, TargetMachine
from holdfast.core.progress import Silence
from holdfast.platforms.libvirt import connect
from tests.e2e.protected import OPTIONS
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest
PIECE = 4 << 20


@pytest.fixture(scope="module")
def platform(host: PrivateHost) -> Iterator[Platform]:
    with connect(host.uri) as connected:
        yield connected


def planned(capture: Capture, name: str, storage: Path) -> MachinePlan:
    assert capture.definition is not None
    return MachinePlan(
        name=name,
        definition=capture.definition,
        nvram=capture.nvram,
        disks=[DiskPlan(name=disk.name, size_bytes=disk.size_bytes, format=disk.format) for disk in capture.disks],
        storage={"": storage},
        networks={},
    )


def fill(capture: Capture, machine: TargetMachine) -> None:
    """As a restore does, without a repository between."""
    for disk in capture.disks:
        target = machine.disks[disk.name]
        reader, writer = disk.open_reader(), target.open_writer()
        for start, end in disk.data():
            for offset in range(start, end, PIECE):
                copy_piece(reader, writer, offset, min(PIECE, end - offset))
        reader.close()
        writer.close()
        target.finish()


def copy_piece(reader: BlockReader, writer: BlockWriter, offset: int, length: int) -> None:
    buffer = memoryview(bytearray(length))
    reader.read_into(offset, buffer)
    writer.write(offset, buffer)


@pytest.mark.parametrize(("firmware", "image_format"), [("bios", "qcow2"), ("uefi", "raw")])
def test_a_machine_made_again_boots_under_a_new_name_beside_the_original(
    platform: Platform,
    lab: Lab,
    tmp_path: Path,
    firmware: Literal["bios", "uefi"],
    image_format: Literal["raw", "qcow2"],
) -> None:
    system = lab.system_disk(f"{firmware}-system", firmware=firmware, image_format=image_format)
    original = lab.boot_from_disk(
        f"{firmware}-original", [system, lab.data_disk(f"{firmware}-data", size_mib=64)], firmware=firmware
    )
    original.run("echo before >/root/word; sync")
    with platform.capture(original.uuid, None, OPTIONS, Silence()) as capture:
        original.run("echo after >/root/word; sync")
        assert (capture.nvram is not None) == (firmware == "uefi")
        with platform.recreate(planned(capture, f"{firmware}-again", tmp_path)) as machine:
            fill(capture, machine)
            identity = machine.define()
            machine.start()
            assert machine.wait_for_agent(120) is not None
    again = lab.find(f"{firmware}-again")
    assert again.uuid == identity != original.uuid
    assert again.run("cat /root/word") == "before\n"
    assert original.run("cat /root/word") == "after\n"
    assert_files_are_its_own(original, again, tmp_path)
    original.forget()
    again.forget()


def assert_files_are_its_own(original: Guest, again: Guest, directory: Path) -> None:
    theirs, ours = original.domain.XMLDesc(), again.domain.XMLDesc()
    for path in (path for path in directory.iterdir() if path.is_file()):
        assert str(path) in ours
        assert str(path) not in theirs
    assert not list(directory.glob("*.partial"))


def test_a_machine_that_does_not_start_stays_defined_with_its_disks(
    platform: Platform, lab: Lab, tmp_path: Path
) -> None:
    guest = lab.clone("startless", [lab.data_disk("startless", size_mib=64)])
    with platform.capture(guest.uuid, None, OPTIONS, Silence()) as capture:
        plan = planned(capture, "startless-again", tmp_path)
        broken = plan.definition.replace(str(lab.image.kernel).encode(), b"/no/such/kernel")
        with platform.recreate(replace(plan, definition=broken)) as machine:
            fill(capture, machine)
            machine.define()
            with pytest.raises(FailedError, match="start startless-again"):
                machine.start()
    assert (tmp_path / "startless-again-vda.qcow2").exists()
    lab.find("startless-again").forget()
    guest.forget()
