"""A lab of real guests on one private host: boot one in four seconds, clone a running one in under two.

with private_host() as host, open_lab(host) as lab:
    guest = lab.clone("one", [lab.data_disk("one")])
    guest.run("echo hello >/data/file; sync")
"""

import itertools
import json
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.testbed.domains import MachineSpec, domain_xml
from tests.testbed.guest import Guest
from tests.testbed.guest_image import Firmware, GuestImage, Kernel, build_guest_image, make_system_disk
from tests.testbed.hosts import PrivateHost
from tests.testbed.savefile import SaveFile
from tests.testbed.scratch import scratch_directory

ImageFormat = Literal["raw", "qcow2"]


class Lab:
    """Guests and their disks on one host, all files in one directory. For one thread.

    A guest booted from a kernel or cloned lives in RAM and mounts its data disks on /data, /data1, ...
    """

    def __init__(self, host: PrivateHost, image: GuestImage, directory: Path) -> None:
        self.host = host
        self.image = image
        self.directory = directory
        self.connection = host.connect()
        self._templates: dict[tuple[int, ...], SaveFile] = {}
        self._numbers = itertools.count(1)

    def data_disk(self, stem: str, *, size_mib: int = 256, image_format: ImageFormat = "qcow2") -> Path:
        """A new disk that holds an empty ext4."""
        raw = self._new_path(stem, "raw")
        with raw.open("wb") as file:
            file.truncate(size_mib << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(raw)], check=True)
        if image_format == "raw":
            return raw
        path = raw.with_suffix(".qcow2")
        subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(path)], check=True)
        raw.unlink()
        return path

    def system_disk(
        self,
        stem: str,
        *,
        size_mib: int = 256,
        firmware: Firmware = "bios",
        image_format: ImageFormat = "qcow2",
        kernel: Kernel = "cloud-amd64",
    ) -> Path:
        """A new disk that boots the small guest by itself."""
        path = self._new_path(stem, image_format)
        make_system_disk(build_guest_image(kernel), path, size_mib=size_mib, firmware=firmware)
        return path

    def boot(self, name: str, disks: Sequence[Path] = (), *, memory_mib: int = 160, devices: str = "") -> Guest:
        """Start the small guest from its kernel, with data disks. Returns when its agent answers."""
        return self._start(self._spec(name, self.image, disks, memory_mib=memory_mib, devices=devices))

    def boot_from_disk(
        self, name: str, disks: Sequence[Path], *, firmware: Firmware = "bios", devices: str = ""
    ) -> Guest:
        """Start a machine from its first disk (`system_disk`). Returns when its agent answers."""
        return self._start(self._spec(name, firmware, disks, memory_mib=256, devices=devices))

    def clone(self, name: str, disks: Sequence[Path]) -> Guest:
        """A running guest with a name, identity and data disks of its own, without booting one. For any disk sizes."""
        spec = self._spec(name, self.image, disks)
        copy = self.directory / f"{name}.save"
        self._template(tuple(virtual_size(path) for path in disks)).write_as(spec, copy)
        self.connection.defineXML(domain_xml(spec))
        self.connection.restore(str(copy))
        copy.unlink()
        guest = self.find(name)
        guest.wait_for_agent()
        mounts = (
            f"mkdir -p /data{index or ''}; mount -t ext4 /dev/vd{chr(ord('a') + index)} /data{index or ''}"
            for index in range(len(disks))
        )
        guest.run("; ".join([f"hostname {name}", f"date -s @{int(time.time())} >/dev/null", *mounts, "true"]))
        return guest

    def find(self, name: str) -> Guest:
        """A guest of this host by name. Raises libvirt.libvirtError if there is none."""
        return Guest(self.connection.lookupByName(name))

    def close(self) -> None:
        """Forget every machine on the host and let go of it."""
        for domain in self.connection.listAllDomains():
            Guest(domain).forget()
        self.connection.close()

    def _template(self, disk_sizes: tuple[int, ...]) -> SaveFile:
        """A saved guest that has seen disks of these sizes but holds nothing of their contents."""
        if disk_sizes not in self._templates:
            disks = [self._blank_disk(size) for size in disk_sizes]
            guest = self.boot(f"template-{next(self._numbers)}", disks)
            guest.run("echo 3 >/proc/sys/vm/drop_caches")
            path = self.directory / f"{guest.name}.saved"
            guest.domain.save(str(path))
            guest.forget()
            self._templates[disk_sizes] = SaveFile(path=path)
        return self._templates[disk_sizes]

    def _blank_disk(self, size_bytes: int) -> Path:
        path = self._new_path("blank", "qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size_bytes)], check=True)
        return path

    def _start(self, spec: MachineSpec) -> Guest:
        domain = self.connection.defineXML(domain_xml(spec))
        domain.create()
        guest = Guest(domain)
        guest.wait_for_agent()
        return guest

    def _spec(
        self, name: str, boot: GuestImage | Firmware, disks: Sequence[Path], *, memory_mib: int = 160, devices: str = ""
    ) -> MachineSpec:
        serial_log = self.directory / f"{name}.serial"
        return MachineSpec(
            name=name,
            uuid=str(uuid.uuid4()),
            boot=boot,
            disks=disks,
            serial_log=serial_log,
            memory_mib=memory_mib,
            devices=devices,
        )

    def _new_path(self, stem: str, suffix: str) -> Path:
        return self.directory / f"{stem}-{next(self._numbers)}.{suffix}"


def virtual_size(path: Path) -> int:
    """The size in bytes of the disk inside an image file."""
    shown = subprocess.run(["qemu-img", "info", "-U", "--output=json", str(path)], check=True, capture_output=True)
    return int(json.loads(shown.stdout)["virtual-size"])


@contextmanager
def open_lab(host: PrivateHost) -> Iterator[Lab]:
    """A lab on a running host, in a directory of its own; its machines and files are gone afterwards."""
    image = build_guest_image()
    with scratch_directory() as directory:
        lab = Lab(host, image, directory)
        try:
            yield lab
        finally:
            lab.close()
