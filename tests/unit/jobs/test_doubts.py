"""What a user is told of files that may not be the newest."""

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from holdfast.filesystems.wire import Opened, VolumeFound
from holdfast.jobs.files import doubts
from tests.support.disks import whole
from tests.support.repositories import SMALL_CUT, back_up_disks, new_repository

if TYPE_CHECKING:
    from holdfast.core.point import Consistency, RestorePoint


@pytest.fixture(scope="module")
def point() -> "RestorePoint":
    return back_up_disks(new_repository(cut=SMALL_CUT), [whole(bytes(4096))]).point


def told(
    point: "RestorePoint",
    consistency: "Consistency",
    kind: str,
    doubt: str | None = None,
    reader: Literal["holdfast", "libguestfs"] = "holdfast",
) -> list[str]:
    volume = VolumeFound(
        name="vda1",
        size_bytes=1 << 30,
        file_system=kind,
        label="",
        uuid="",
        layers=[],
        mounted_at=["/"],
        reason="",
        doubt=doubt,
        reader=reader,
    )
    inspection = SimpleNamespace(opened=Opened(volumes=[volume], notes=[]))
    return list(doubts(replace(point, consistency=consistency), cast("Any", inspection)))


@pytest.mark.parametrize("kind", ["xfs", "ntfs"])
def test_a_file_system_that_does_not_say_whether_it_was_in_use_is_doubted_if_its_guest_was_not_asked(
    point: "RestorePoint", kind: str
) -> None:
    assert "was not asked to write back" in told(point, "crash", kind)[0]
    assert told(point, "filesystem", kind) == []
    assert len(told(point, "crash", kind, "it was in use")) == 1
    assert told(point, "crash", "ext4") == []
    assert "was not asked to write back" in told(point, "crash", "ext4", reader="libguestfs")[0]
