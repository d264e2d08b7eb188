"""A signal unwinds every context, once, and leaves the conventional status."""

import signal
import subprocess
import sys

import pytest

from holdfast.cli.interrupt import Interrupted, interruptible
from holdfast.core.ending import is_ending

PROGRAM = """
import sys, time
from holdfast.cli.failure import exit_status
from holdfast.cli.interrupt import Interrupted, interruptible

try:
    with interruptible():
        try:
            print("working", flush=True)
            time.sleep(60)
        finally:
            print("unwinding", flush=True)
            sys.stdin.readline()
            print("unwound", flush=True)
except Interrupted as error:
    sys.exit(exit_status(error))
"""


def started(*, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    ignore = f"import signal; signal.signal({int(ignored)}, signal.SIG_IGN)\n" if ignored else ""
    process = subprocess.Popen(
        [sys.executable, "-c", ignore + PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_unwinds_and_a_second_does_not_disturb_that(signum: signal.Signals, status: int) -> None:
    process = started()
    process.send_signal(signum)
    assert process.stdout is not None
    assert process.stdout.readline() == "unwinding\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate("go on\n", timeout=30)
    assert rest == "unwound\n"
    assert process.returncode == status


def test_a_signal_our_parent_ignores_stays_ignored() -> None:
    process = started(ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate("go on\n", timeout=30)
    assert process.returncode == 143


def be_struck_in_native_code() -> None:
    with interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Interrupted as error:
            raise SystemError("returned a result with an exception set") from error


def test_what_native_code_makes_of_an_interrupt_is_still_one() -> None:
    with pytest.raises(Interrupted) as caught:
        be_struck_in_native_code()
    assert caught.value.exit_status == 143
    assert not is_ending(), "what comes after has been asked by nobody"
