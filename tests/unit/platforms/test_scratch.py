"""How much scratch space a backup may use, and when it is refused for want of it."""

from pathlib import Path

import pytest

from holdfast.core.errors import FullError
from holdfast.platforms.libvirt.scratch import limits_for

MIB, GIB = 1 << 20, 1 << 30
HERE = Path("/scratch")


def test_by_default_a_fifth_of_the_disk_or_ten_gib() -> None:
    limits = limits_for({"vda": 20 * GIB, "vdb": 1000 * GIB}, 1000 * GIB, None, HERE)
    assert limits == {"vda": 4 * GIB, "vdb": 10 * GIB}


def test_where_space_is_short_at_most_half_of_it() -> None:
    limits = limits_for({"vda": 20 * GIB, "vdb": 20 * GIB}, 1 * GIB, None, HERE)
    assert sum(limits.values()) <= GIB // 2
    assert limits["vda"] == limits["vdb"] > 100 * MIB


def test_too_little_to_begin_with_is_refused() -> None:
    with pytest.raises(FullError, match="/scratch has 1048576 bytes free"):
        limits_for({"vda": 20 * GIB}, MIB, None, HERE)


def test_a_wish_is_kept_or_refused_never_bent() -> None:
    assert limits_for({"vda": GIB, "vdb": GIB}, 10 * GIB, 2 * GIB, HERE) == {"vda": 2 * GIB, "vdb": 2 * GIB}
    with pytest.raises(FullError, match="need"):
        limits_for({"vda": GIB, "vdb": GIB}, 4 * GIB, 2 * GIB, HERE)


def test_a_tiny_disk_needs_no_more_than_its_share() -> None:
    assert limits_for({"vda": 10 * MIB}, 100 * MIB, None, HERE) == {"vda": 2 * MIB}
