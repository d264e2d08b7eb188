"""Whether this process has been asked to end. Threads that wait for somebody else look here, and wait no longer.

It is asked by a signal handler, which may strike while its own thread holds any lock: hence a plain flag and short
sleeps, no event.
"""

import time
from typing import Final

from holdfast.core.errors import FailedError

_SLICE_S: Final = 0.25


class _Ending:
    asked = False


def ask_to_end() -> None:
    """From now on nobody waits for others any more."""
    _Ending.asked = True


def forget_ending() -> None:
    """Work begins that nobody has asked to end yet."""
    _Ending.asked = False


def is_ending() -> bool:
    """Whether the process was asked to end."""
    return _Ending.asked


def stop_if_ending() -> None:
    """Raise FailedError if the process was asked to end."""
    if is_ending():
        raise FailedError("interrupted: the program was asked to end", code="interrupted")


def sleep_unless_ending(seconds: float) -> None:
    """Sleep so long, or until the process is asked to end."""
    until = time.monotonic() + seconds
    while not is_ending() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE_S))
