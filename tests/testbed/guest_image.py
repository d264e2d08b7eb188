"""The small guest: Debian's kernel, static busybox and the real guest agent; its agent answers within four seconds.

It is built once from Debian packages that are unpacked, never installed, and kept under `build/guest/`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.core.errors import FailedError
from tests.testbed.requirements import require_programs

Firmware = Literal["bios", "uefi"]
Kernel = Literal["cloud-amd64", "amd64"]
"""Debian's: the cloud's knows no AHCI; the other does, and takes two seconds more to unpack itself."""

_SOURCES = Path(__file__).with_name("smallguest")
_CACHE = Path(__file__).parents[2] / "build" / "guest"
_IMAGE_PROGRAMS = ("apt-get", "dpkg-deb", "depmod", "modprobe", "cpio", "lz4", "strip", "ldd")
_DISK_PROGRAMS = ("mmd", "mcopy", "mkfs.vfat", "mke2fs", "sfdisk", "qemu-img")
_FIRMWARE_PROGRAMS: dict[Firmware, tuple[str, ...]] = {"bios": ("syslinux",), "uefi": ("objcopy",)}
_LZ4_MAGIC = b"\x02\x21\x4c\x18"  # the legacy frame that Linux's build puts into a bzImage

# Everything that costs an emulated guest time and shows nothing is off; ten seconds to the agent become four.
COMMAND_LINE = (
    "console=ttyS0 quiet mitigations=off nokaslr no_timer_check tsc=reliable cryptomgr.notests 8250.nr_uarts=1"
    " random.trust_cpu=on rcupdate.rcu_expedited=1 i8042.noaux i8042.nokbd audit=0 selinux=0 apparmor=0 panic=-1"
    " initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list,init_ima,init_encrypted,"
    "init_evm,perf_event_sysfs_init,extfrag_debug_init,dnotify_init"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """The built guest: what a direct boot of the cloud's kernel needs, and what self-booting disks are made of."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """The uncompressed kernel: QEMU starts it without a boot loader and without unpacking under emulation."""
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The guest's whole system, uncompressed."""
        return self.directory / "initrd.cpio"


def build_guest_image(kernel: Kernel = "cloud-amd64") -> GuestImage:
    """The small guest, built if its sources have changed since. Raises RefusedError or FailedError if it cannot be."""
    directory = _CACHE / f"{_digest_of_sources()}-{kernel}"
    with _building(directory):
        if not directory.exists():
            require_programs(_IMAGE_PROGRAMS, "building the small guest")
            _build(directory, kernel)
    return GuestImage(directory=directory)


def make_system_disk(image: GuestImage, path: Path, *, size_mib: int = 256, firmware: Firmware = "bios") -> None:
    """Make a disk at `path` that boots the small guest by itself; raw, or qcow2 where the name says so."""
    require_programs((*_DISK_PROGRAMS, *_FIRMWARE_PROGRAMS[firmware]), "making a guest's disk")
    raw = path.with_name(f"{path.name}.raw") if path.suffix == ".qcow2" else path
    script = _SOURCES / "build-disk.sh"
    _run_script(script, str(image.directory), str(raw), str(size_mib), firmware, COMMAND_LINE)
    if raw != path:
        subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(path)], check=True)
        raw.unlink()


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in _SOURCES.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(_SOURCES)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _building(directory: Path) -> Iterator[None]:
    """Let one program at a time build; the others then find the work done."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(directory: Path, kernel: Kernel) -> None:
    draft = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    _run_script(_SOURCES / "build-initrd.sh", str(draft), kernel)
    if kernel == "cloud-amd64":
        _unpack_kernel(draft / "bzImage", draft / "vmlinux")
    draft.rename(directory)


def _unpack_kernel(bzimage: Path, vmlinux: Path) -> None:
    """Take the LZ4 stream out of a bzImage. What counts is an ELF coming out: lz4 complains about the bytes behind."""
    image = bzimage.read_bytes()
    start = image.find(_LZ4_MAGIC)
    if start < 0:
        raise FailedError(f"{bzimage}: the kernel is not packed with LZ4", code="guest-kernel")
    packed = subprocess.run(["lz4", "-dcq"], input=image[start:], capture_output=True, check=False)
    if not packed.stdout.startswith(b"\x7fELF"):
        raise FailedError(f"{bzimage}: no kernel inside: {packed.stderr.decode(errors='replace')}", code="guest-kernel")
    vmlinux.write_bytes(packed.stdout)


def _run_script(script: Path, *arguments: str) -> None:
    environment = os.environ | {"TMPDIR": str(_CACHE)}
    done = subprocess.run(
        ["bash", str(script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FailedError(
            f"{script.name} failed: {done.stderr.strip() or done.stdout.strip()}",
            hint="is the Debian archive reachable (apt-get update)?",
            code="guest-not-built",
        )
