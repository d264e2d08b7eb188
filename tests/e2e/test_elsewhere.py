"""What was converted boots: on another controller, on a physical disk and back, and from the images of others."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.foreign import (
    Origin,
    assert_is_origin,
    back_up_origin,
    boot_plain,
    device_source,
    image_source,
    loop_device,
    system_disk_of,
)
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest
MIB = 1 << 20


@pytest.fixture(scope="module")
def origin(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return back_up_origin(lab, tmp_path_factory)


@pytest.mark.parametrize("bus", ["sata", "ide"])
def test_a_machine_boots_on_another_controller(origin: Origin, bus: str) -> None:
    assert_is_origin(origin.restore("origin@latest", bus, "--bus", bus), "/dev/sda")


def test_a_virtual_machine_becomes_a_physical_one_and_comes_back(origin: Origin, tmp_path: Path) -> None:
    backing = tmp_path / "device"
    with backing.open("wb") as file:
        file.truncate(320 * MIB)
    with loop_device(backing) as device:
        origin.export("raw", device, "--overwrite")
        physical = boot_plain(origin.lab, "physical", device_source(device))
        assert physical.run("cat /mark") == "origin\n"
        leave(physical, "/dev/sda", "physical")
        origin.site.back_up("tower", f"disk={device}")
    refused = origin.site.run("restore", "machine", "tower@latest", "--name", "ahci", "--storage", tmp_path, "--json")
    assert refused.error["code"] == "no-definition"
    machine = origin.restore("tower@latest", "ahci", "--memory", "256MiB", "--emulated")
    assert machine.run("cat /mark") == "physical\n"
    done = origin.site.run("backup", "ahci", "--json")
    assert done.status == 0, done.err
    leave(machine, "/dev/sda", "unseen")
    virtual = origin.restore("ahci@latest", "virtual", "--bus", "virtio")
    assert virtual.run("cat /mark") == "physical\n"
    leave(virtual, "/dev/vda", "virtual")


def leave(guest: Guest, disk: str, word: str) -> None:
    """Look where it runs, write a word, and let it go."""
    assert system_disk_of(guest) == disk
    guest.run(f"echo {word} >/mark; sync")
    guest.forget()


def test_the_disk_inside_an_appliance_boots(origin: Origin, tmp_path: Path) -> None:
    """QEMU does not write to such a disk, so what the guest writes goes into an image over it."""
    appliance, overlay = tmp_path / "origin.ova", tmp_path / "overlay.qcow2"
    origin.export("ova", appliance)
    subprocess.run(["tar", "-C", tmp_path, "-xf", appliance, "origin-vda.vmdk"], check=True)
    over = ("-F", "vmdk", "-b", tmp_path / "origin-vda.vmdk", overlay)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over], check=True)
    assert_is_origin(boot_plain(origin.lab, "appliance", image_source(overlay, "qcow2")), "/dev/sda")
