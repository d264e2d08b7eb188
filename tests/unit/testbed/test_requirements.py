"""What is missing is said before anything is started."""

import pytest

from holdfast.core.errors import RefusedError
from tests.testbed.requirements import require_programs


def test_every_missing_program_is_named_and_the_remedy_too() -> None:
    with pytest.raises(RefusedError, match="a test needs no-such-one, no-such-two") as caught:
        require_programs(["sh", "no-such-one", "no-such-two"], "a test")
    assert "make setup" in caught.value.hint


def test_programs_in_sbin_count_although_a_path_may_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    require_programs(["mkswap"], "a test")
