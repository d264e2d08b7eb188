"""libvirt with QEMU: machines, captures and restores."""

from holdfast.platforms.libvirt.hypervisor import connect

__all__ = ["connect"]
