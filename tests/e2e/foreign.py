"""Machines that Holdfast did not make: plain ones, as another hypervisor or a physical machine would be."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from tests.e2e.command import Site
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

MEDIUM = """<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/>
<address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A point of a guest `origin` on virtio, off by now. Its machine is an i440FX, and has a CD drive on AHCI."""

    site: Site
    lab: Lab

    def restore(self, point: str, name: str, *options: str | Path) -> Guest:
        """A machine that was restored and answers."""
        where = ("--name", name, "--storage", self.site.home, "--start")
        done = self.site.run("restore", "machine", point, *where, *options, "--json")
        assert done.status in {0, 3}, done.err
        (result,) = done.end["results"]
        assert result["seconds_to_agent"] is not None, result
        return self.lab.find(name)

    def export(self, image_format: str, output: Path, *options: str) -> dict[str, Any]:
        """The newest point in another format."""
        command = ("machine", "export", "origin@latest", "--format", image_format, "--output", output)
        done = self.site.run(*command, *options, "--json")
        assert done.status == 0, done.err
        (result,) = done.end["results"]
        return dict(result)


def back_up_origin(lab: Lab, factory: pytest.TempPathFactory) -> Origin:
    """Boot it, back it up, and let it go."""
    site = Site(home=factory.mktemp("site"), environment={"HOLDFAST_CONNECT": lab.host.uri})
    site.create()
    guest = lab.boot_from_disk("origin", [lab.system_disk("origin", kernel="amd64")], devices=MEDIUM)
    assert system_disk_of(guest) == "/dev/vda"
    guest.run("echo origin >/mark; sync")
    done = site.run("backup", "origin", "--json")
    assert done.status == 0, done.err
    guest.forget()
    return Origin(site=site, lab=lab)


def system_disk_of(guest: Guest) -> str:
    """The disk that the guest's own partition is on, as the guest calls it."""
    return guest.run("grep ' / ext4 ' /proc/mounts").split()[0].removesuffix("2")


def image_source(path: Path, image_format: str) -> str:
    """An image that QEMU reads with its driver of that format."""
    return f"type='file'><driver name='qemu' type='{image_format}'/><source file={quoteattr(str(path))}/>"


def device_source(path: Path) -> str:
    """A block device."""
    return f"type='block'><driver name='qemu' type='raw'/><source dev={quoteattr(str(path))}/>"


def nbd_source(socket: Path) -> str:
    """What somebody serves there."""
    host = f"<host transport='unix' socket={quoteattr(str(socket))}/>"
    return f"type='network'><driver name='qemu' type='raw'/><source protocol='nbd'>{host}</source>"


def boot_plain(lab: Lab, name: str, source: str) -> Guest:
    """Start a Q35 machine whose only disk is on AHCI. Returns when its agent answers."""
    domain = lab.connection.defineXML(
        f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/></features><devices>
        <disk device='disk' {source}<target dev='sda' bus='sata'/></disk>
        <channel type='unix'><source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""
    )
    domain.create()
    guest = Guest(domain)
    guest.wait_for_agent()
    return guest


def assert_is_origin(guest: Guest, disk: str) -> None:
    """It runs from this disk, and holds what the origin held."""
    assert system_disk_of(guest) == disk
    assert guest.run("cat /mark") == "origin\n"
    guest.forget()


@contextmanager
def loop_device(backing: Path) -> Iterator[Path]:
    """A block device of this file."""
    made = subprocess.run(["losetup", "-f", "--show", backing], check=True, capture_output=True, text=True)
    device = Path(made.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
