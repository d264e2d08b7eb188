"""What libguestfs needs where no kernel is installed: Debian's, unpacked, and a cache, in `build/appliance/`.

supermin makes the appliance of that kernel and of this machine's own programs, at its first start.
"""

import fcntl
import subprocess
from pathlib import Path

from holdfast.core.errors import FailedError
from tests.testbed.requirements import require_programs, require_root

_PLACE = Path(__file__).parents[2] / "build" / "appliance"
_MODULES = Path("/lib/modules")


def appliance_environment() -> dict[str, str]:
    """What tells libguestfs where its appliance is, and not to try KVM. Raises RefusedError, FailedError."""
    require_root("libguestfs's appliance")
    require_programs(("apt-get", "apt-cache", "dpkg-deb", "depmod", "supermin"), "libguestfs's appliance")
    _MODULES.mkdir(exist_ok=True)  # supermin looks at it wherever the modules really are
    _PLACE.mkdir(parents=True, exist_ok=True)
    with (_PLACE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_PLACE / "kernel").exists():
            _unpack_kernel(_PLACE / "kernel.partial")
            (_PLACE / "kernel.partial").rename(_PLACE / "kernel")
    kernel = next((_PLACE / "kernel" / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    return {
        "SUPERMIN_KERNEL": str(kernel),
        "SUPERMIN_KERNEL_VERSION": version,
        "SUPERMIN_MODULES": str(_PLACE / "kernel" / "lib" / "modules" / version),
        "LIBGUESTFS_CACHEDIR": str(_PLACE),
        "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
    }


def _unpack_kernel(draft: Path) -> None:
    script = """
        set -e; export PATH=$PATH:/usr/sbin:/sbin; rm -rf "$1"; mkdir "$1"; cd "$1"
        name=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)
        apt-get -qq download "$name"; dpkg-deb -x ./*.deb .; rm ./*.deb
        depmod -b . "$(ls lib/modules)"
    """
    done = subprocess.run(["bash", "-c", script, "bash", str(draft)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError(f"Debian's kernel cannot be unpacked: {done.stderr.strip()}", code="appliance-kernel")
