"""When a capture may build on a point: only without any doubt, on all disks or none, and always with the reason."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.core.ports import Baseline
from holdfast.platforms.libvirt.marks import (
    Image,
    Mark,
    MarkableDisk,
    checkpoints_in,
    judge,
    new_checkpoint_name,
    newest_of_each,
)

GIB = 1 << 30
IMAGE = Image(path="/images/a.qcow2", inode=7, chain=("/images/base.qcow2 (inode 8, 512 bytes, 1 ns)",))
DISK = MarkableDisk(name="vda", size_bytes=GIB, image=IMAGE)
MARK = Mark(checkpoint="holdfast-0a1b2c3d-1", size_bytes=GIB, image=IMAGE)


def baseline(**marks: Mark | dict[str, Any] | None) -> Baseline:
    return Baseline(
        point="p1",
        sizes=dict.fromkeys(marks, GIB),
        marks={name: mark.to_json() if isinstance(mark, Mark) else mark for name, mark in marks.items()},
    )


def test_an_unchanged_disk_is_read_from_its_mark_on() -> None:
    verdict = judge([DISK], baseline(vda=MARK))
    assert verdict.checkpoint == MARK.checkpoint
    assert verdict.reasons == {"vda": "changed blocks since point p1"}


def test_a_grown_disk_keeps_its_mark() -> None:
    assert judge([dataclasses.replace(DISK, size_bytes=2 * GIB)], baseline(vda=MARK)).checkpoint == MARK.checkpoint


def test_without_a_point_everything_is_read() -> None:
    verdict = judge([DISK], None)
    assert verdict.checkpoint is None
    assert verdict.reasons == {"vda": "first backup of this machine into this repository"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda disk: dataclasses.replace(disk, size_bytes=GIB // 2), "had 1073741824 bytes"),
        (lambda disk: _moved(disk, path="/images/b.qcow2"), "was /images/a.qcow2 and is /images/b.qcow2"),
        (lambda disk: _moved(disk, inode=8), "is another file"),
        (lambda disk: _moved(disk, chain=()), "other backing files"),
        (lambda disk: _moved(disk, chain=("/images/base.qcow2 (inode 8, 512 bytes, 2 ns)",)), "other backing files"),
        (lambda disk: _moved(disk, chain=("/images/base.qcow2",)), "other backing files"),
        (lambda disk: dataclasses.replace(disk, image=None, obstacle="raw disks keep no record"), "raw disks keep no"),
        (lambda disk: dataclasses.replace(disk, name="vdb"), "the disk was added"),
    ],
)
def test_every_doubt_about_a_disk_is_a_full_read_that_says_why(
    change: Callable[[MarkableDisk], MarkableDisk], reason: str
) -> None:
    disk = change(DISK)
    verdict = judge([disk], baseline(vda=MARK))
    assert verdict.checkpoint is None
    assert reason in verdict.reasons[disk.name]


@pytest.mark.parametrize(
    "mark", [None, {}, {"kind": "other"}, MARK.to_json() | {"inode": "x"}, MARK.to_json() | {"chain": None}]
)
def test_a_mark_that_is_missing_or_not_understood_is_no_mark(mark: dict[str, Any] | None) -> None:
    verdict = judge([DISK], baseline(vda=mark))
    assert verdict.checkpoint is None
    assert verdict.reasons["vda"] == "point p1 has no mark for the disk"


def test_a_mark_of_another_size_than_the_point_says_is_not_trusted() -> None:
    odd = dataclasses.replace(MARK, size_bytes=GIB // 2)
    assert judge([DISK], baseline(vda=odd)).checkpoint is None


def test_one_disk_without_a_mark_makes_all_full_and_each_says_why() -> None:
    raw = MarkableDisk(name="vdb", size_bytes=GIB, image=None, obstacle="raw disks keep no record")
    verdict = judge([DISK, raw], baseline(vda=MARK, vdb=None))
    assert verdict.checkpoint is None
    assert verdict.reasons == {
        "vda": "vdb needs a full read: raw disks keep no record",
        "vdb": "raw disks keep no record",
    }


def test_marks_of_different_instants_are_not_mixed() -> None:
    other = dataclasses.replace(MARK, checkpoint="holdfast-0a1b2c3d-2")
    disks = [DISK, dataclasses.replace(DISK, name="vdb")]
    assert judge(disks, baseline(vda=MARK, vdb=other)).checkpoint is None
    assert judge(disks, baseline(vda=MARK, vdb=MARK)).checkpoint == MARK.checkpoint


def test_a_disk_that_is_gone_does_not_keep_the_others_from_their_marks() -> None:
    assert judge([DISK], baseline(vda=MARK, vdb=MARK)).checkpoint == MARK.checkpoint


def test_a_mark_survives_the_point_that_carries_it() -> None:
    assert Mark.from_json(MARK.to_json()) == MARK
    assert checkpoints_in(baseline(vda=MARK, vdb=None)) == {MARK.checkpoint}
    assert checkpoints_in(None) == set()


def test_names_never_recur() -> None:
    names = {new_checkpoint_name("0a1b2c3d") for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith("holdfast-0a1b2c3d-") and name[18:].isdigit() for name in names)


def _moved(disk: MarkableDisk, **changes: Any) -> MarkableDisk:
    assert disk.image is not None
    return dataclasses.replace(disk, image=dataclasses.replace(disk.image, **changes))


def test_only_the_newest_checkpoint_of_each_repository_tells_whether_changes_are_tracked() -> None:
    names = ["holdfast-0a1b2c3d-99", "holdfast-0a1b2c3d-100", "holdfast-ffffffff-7", "theirs", "holdfast-mine"]
    assert newest_of_each(names) == {"holdfast-0a1b2c3d-100", "holdfast-ffffffff-7"}
    assert newest_of_each([]) == set()
