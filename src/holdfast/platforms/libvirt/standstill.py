"""Why a domain stands still: QEMU pauses one whose read or write failed, as the policies of its disks say."""

from typing import Any, Literal

import libvirt


def standstill(domain: Any) -> Literal["full", "broken"] | None:
    """What keeps a domain paused: want of space for what it writes, or another error of its disks. None if neither.

    Raises libvirtError. Source: libvirt.org/html/libvirt-libvirt-domain.html, virDomainGetDiskErrors.
    """
    state, reason = domain.state()
    if state != libvirt.VIR_DOMAIN_PAUSED or reason != libvirt.VIR_DOMAIN_PAUSED_IOERROR:
        return None
    return "full" if libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE in domain.diskErrors().values() else "broken"
