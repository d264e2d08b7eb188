"""libvirt's errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from holdfast.core.errors import (
    ConflictError,
    DeniedError,
    FailedError,
    HoldfastError,
    NotFoundError,
    UnreachableError,
)

_KINDS: dict[int, type[HoldfastError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NotFoundError,
    libvirt.VIR_ERR_NO_CONNECT: UnreachableError,
    libvirt.VIR_ERR_INVALID_CONN: UnreachableError,
    libvirt.VIR_ERR_RPC: UnreachableError,
    libvirt.VIR_ERR_AUTH_FAILED: DeniedError,
    libvirt.VIR_ERR_AUTH_CANCELLED: DeniedError,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: DeniedError,
    libvirt.VIR_ERR_ACCESS_DENIED: DeniedError,
    libvirt.VIR_ERR_OPERATION_DENIED: DeniedError,
    # "cannot acquire state change lock": another client works on the same domain, for 30 s already.
    libvirt.VIR_ERR_OPERATION_TIMEOUT: ConflictError,
}


@contextmanager
def asking(what: str, hint: str = "") -> Iterator[None]:
    """Raise what libvirt refuses as the HoldfastError it means; `what` completes "cannot …"."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise meaning(error, what, hint) from error


def virsh(domain: Any, command: str) -> str:
    """What a person types to have libvirt do this to the domain."""
    with asking(f"ask where {domain.name()} is"):
        return f"virsh --connect {domain.connect().getURI()} {command} {domain.name()}"


def meaning(error: libvirt.libvirtError, what: str, hint: str = "") -> HoldfastError:
    """The HoldfastError that a libvirt error amounts to."""
    kind = UnreachableError if is_lost(error) else _KINDS.get(error.get_error_code(), FailedError)
    return kind(f"cannot {what}: {error.get_error_message() or error}", hint=hint)


def is_lost(error: libvirt.libvirtError) -> bool:
    """Whether the connection to libvirt itself is gone ("client socket is closed", a broken pipe)."""
    return error.get_error_domain() == libvirt.VIR_FROM_RPC and error.get_error_code() in {
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_SYSTEM_ERROR,
    }
