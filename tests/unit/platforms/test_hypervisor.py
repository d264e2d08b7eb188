"""A signal that strikes during a call of libvirt's comes out as what it raised, not as the binding's surprise at it."""

import signal
from contextlib import suppress
from types import FrameType

import libvirt
import pytest

from holdfast.core.errors import UnreachableError
from holdfast.platforms.libvirt.hypervisor import connect


class StruckError(Exception):
    pass


def strike(_signum: int, _frame: FrameType | None) -> None:
    raise StruckError


def fail_until_struck() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    while True:
        with suppress(libvirt.libvirtError):
            libvirt.open("nothing:///there")


def test_an_interrupt_in_a_call_that_fails_is_not_lost_in_the_binding() -> None:
    with pytest.raises(UnreachableError):
        connect("nothing:///there")
    before = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(200):
            with pytest.raises(StruckError):
                fail_until_struck()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
