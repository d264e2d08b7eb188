"""SIGINT, SIGTERM and SIGHUP end the work cleanly: they raise in the main thread, so that every context unwinds."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """A signal asked us to end. No handler of ordinary errors swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first of these signals raises `Interrupted`; later ones are ignored, since cleaning up must finish.

    A signal that our parent had ignored stays ignored: `nohup` and background jobs rely on it.
    """
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    ours = [signum for signum, handler in before.items() if handler is not signal.SIG_IGN]
    for signum in ours:
        signal.signal(signum, _interrupt)
    try:
        yield
    finally:
        for signum in ours:
            signal.signal(signum, before[signum])


def _interrupt(signum: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if sys.stderr.isatty():
        sys.stderr.write("\ninterrupted, cleaning up\n")
    raise Interrupted(signum)
