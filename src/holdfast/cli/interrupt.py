"""SIGINT, SIGTERM and SIGHUP end the work cleanly: they raise in the main thread, so that every context unwinds."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from holdfast.core.ending import ask_to_end, forget_ending


class Interrupted(BaseException):
    """A signal asked us to end. No handler of ordinary errors swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first of these signals raises `Interrupted`; later ones are ignored, since cleaning up must finish.

    A signal that our parent had ignored stays ignored: `nohup` and background jobs rely on it. Whatever error comes out
    once a signal has struck is its doing: native code may turn what was raised in it into something of its own.
    """
    struck: list[Interrupted] = []
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    ours = [signum for signum, handler in before.items() if handler is not signal.SIG_IGN]
    for signum in ours:
        signal.signal(signum, partial(_interrupt, struck))
    try:
        yield
    except Exception as error:
        if struck:
            raise struck[0] from error
        raise
    finally:
        for signum in ours:
            signal.signal(signum, before[signum])
        forget_ending()


def _interrupt(struck: list[Interrupted], signum: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    ask_to_end()
    if sys.stderr.isatty():
        sys.stderr.write("\ninterrupted, cleaning up\n")
    struck.append(Interrupted(signum))
    raise struck[0]
