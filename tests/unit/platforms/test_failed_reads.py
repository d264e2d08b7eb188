"""What a server could not read, or not in time, is noted for whoever answers for the machine."""

import time
from pathlib import Path

import pytest

from holdfast.core.errors import UnreachableError
from holdfast.platforms.nbd.failed_reads import LONG_S, FailedRead, Reads, take_failure

READ = FailedRead(export="vda", offset=4096, length=512)


def test_a_read_that_fails_is_noted_and_taken_once(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError), Reads(tmp_path).reading(READ):
        raise UnreachableError("nobody answers")
    assert take_failure(tmp_path) == READ
    assert take_failure(tmp_path) is None


def test_a_read_is_noted_while_it_waits_for_long_and_no_sooner(tmp_path: Path) -> None:
    reads = Reads(tmp_path)
    with reads.reading(READ):
        reads.look(time.monotonic())
        assert take_failure(tmp_path) is None
        reads.look(time.monotonic() + LONG_S + 1)
        assert take_failure(tmp_path) == READ
    reads.look(time.monotonic() + LONG_S + 1)
    assert take_failure(tmp_path) is None
