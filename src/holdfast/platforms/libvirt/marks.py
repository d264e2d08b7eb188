"""Marks: what a point remembers about each disk, and whether the next capture may build on it. Pure decisions.

A mark names a checkpoint of libvirt and the dirty bitmap of the same name inside the disk's qcow2 image. The bitmap
records what was written since the checkpoint; it moves with the image, and it is lost or known to be broken when a
program that knows no bitmaps has touched it.

Names of checkpoints never recur. A recurring name would be wrong in this way: a backup makes checkpoint 7 and fails
before its commit; somebody keeps a copy of the image; the next backup makes another checkpoint 7, at a later instant,
and commits; the copy is put back. Its bitmap 7 then tells all changes since an instant that no point holds, and the
increment would miss what lies between the two. With names used once, a bitmap found under a mark's name began at
that point's instant, in whichever copy of the image it is found, and tells how this copy differs from the point.
"""

import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from holdfast.core.ports import Baseline

_MADE: Final = re.compile(r"holdfast-(?P<owner>[0-9a-f]{8})-[0-9]+")


def new_checkpoint_name(owner: str) -> str:
    """A name that no other attempt has had or will have, even if the clock goes back."""
    return f"{name_prefix(owner)}{time.time_ns() // 1_000_000}{secrets.randbelow(10**9):09d}"


def name_prefix(owner: str) -> str:
    """How all checkpoints begin that the repository `owner` (8 hex digits) made."""
    return f"holdfast-{owner}-"


def newest_of_each(names: Iterable[str]) -> set[str]:
    """Of checkpoints of any repositories, the newest of each: only on that one can its next capture build.

    An older one may be known to libvirt still and have no bitmap any more, where a disk was exchanged for another.
    """
    newest: dict[str, str] = {}
    for name in names:
        if (made := _MADE.fullmatch(name)) is not None:
            newest[made["owner"]] = max(newest.get(made["owner"], ""), name, key=_number)
    return set(newest.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Where a disk's data lie: the image's path and inode, and the files it stands on.

    The bitmap tells nothing of what lies below its image. So each file of `chain` is described by path, inode, size
    and time: one that was written to or replaced is not the same.

    Device numbers are left out, which change with every mount; the inode of a device node is 0 for the same reason.
    """

    path: str
    inode: int
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a point remembers of one disk."""

    checkpoint: str
    size_bytes: int
    image: Image

    def to_json(self) -> dict[str, Any]:
        """As JSON values. The bitmap bears the checkpoint's name."""
        return {
            "checkpoint": self.checkpoint,
            "bitmap": self.checkpoint,
            "size_bytes": self.size_bytes,
            **asdict(self.image),
            "chain": list(self.image.chain),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self | None:
        """The mark in a point's record; None where there is none that we understand."""
        if value is None:
            return None
        try:
            image = Image(path=str(value["path"]), inode=int(value["inode"]), chain=tuple(map(str, value["chain"])))
            return cls(checkpoint=str(value["checkpoint"]), size_bytes=int(value["size_bytes"]), image=image)
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkableDisk:
    """A disk as it is now. `image` is where a mark can be kept; None with the reason in `obstacle`."""

    name: str
    size_bytes: int
    image: Image | None
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the whole job builds on `checkpoint` (None = full), and for each disk why, in words."""

    checkpoint: str | None
    reasons: Mapping[str, str]

    @classmethod
    def full(cls, disks: Sequence[MarkableDisk], reason: str) -> Self:
        """Read everything, for one reason that holds for all disks."""
        return cls(checkpoint=None, reasons={disk.name: reason for disk in disks})


def checkpoints_in(baseline: Baseline | None) -> set[str]:
    """The checkpoints that a baseline's marks name."""
    marks = map(Mark.from_json, baseline.marks.values()) if baseline else ()
    return {mark.checkpoint for mark in marks if mark is not None}


def judge(disks: Sequence[MarkableDisk], baseline: Baseline | None) -> Verdict:
    """Decide from what can be seen without asking libvirt. One disk without a usable mark makes the job a full one."""
    if baseline is None:
        return Verdict.full(disks, "first backup of this machine into this repository")
    marks = {disk.name: Mark.from_json(baseline.marks.get(disk.name)) for disk in disks}
    faults = {disk.name: _fault(disk, marks[disk.name], baseline) for disk in disks}
    checkpoints = {mark.checkpoint for mark in marks.values() if mark is not None}
    if not any(faults.values()):
        if len(checkpoints) == 1:
            return Verdict(
                checkpoint=checkpoints.pop(),
                reasons={disk.name: f"changed blocks since point {baseline.point}" for disk in disks},
            )
        return Verdict.full(disks, f"the disks' marks in point {baseline.point} belong to different instants")
    culprit = next(name for name, fault in faults.items() if fault)
    return Verdict(
        checkpoint=None,
        reasons={name: fault or f"{culprit} needs a full read: {faults[culprit]}" for name, fault in faults.items()},
    )


def _number(name: str) -> int:
    return int(name.rpartition("-")[2] or 0)


def _fault(disk: MarkableDisk, mark: Mark | None, baseline: Baseline) -> str:  # noqa: PLR0911 - one line a doubt
    """Why a disk's mark cannot be built on; empty if nothing speaks against it."""
    if disk.image is None:
        return disk.obstacle
    if disk.name not in baseline.sizes:
        return f"the disk was added after point {baseline.point}"
    if mark is None:
        return f"point {baseline.point} has no mark for the disk"
    if disk.size_bytes < baseline.sizes[disk.name] or mark.size_bytes != baseline.sizes[disk.name]:
        return f"the disk had {baseline.sizes[disk.name]} bytes at point {baseline.point} and has {disk.size_bytes} now"
    if mark.image.path != disk.image.path:
        return f"the disk's image was {mark.image.path} and is {disk.image.path} now"
    if mark.image.inode != disk.image.inode:
        return f"{disk.image.path} is another file than at point {baseline.point}"
    if mark.image.chain != disk.image.chain:
        return f"{disk.image.path} stands on other backing files than at point {baseline.point}"
    return ""
