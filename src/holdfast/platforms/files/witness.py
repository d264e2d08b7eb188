"""Whether files are still what they were when we began to read them."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from holdfast.core.errors import FailedError

_WRITTEN, _DISCARDED = 6, 13  # counted from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The identity, size and times of some files as of one instant.

    The change time is included, which nobody can set back, although it also moves for harmless reasons (a new owner,
    a new hard link): a false alarm costs a second try. A block device's times say nothing; instead the kernel counts
    the sectors written to it.
    """

    seen: tuple[tuple[Path, tuple[int, ...]], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Self:
        """Look at the files now. Raises FailedError if one is not there."""
        return cls(seen=tuple((path, _look(path)) for path in paths))

    def doubts(self) -> Iterator[str]:
        """What cannot be seen, in words: block devices whose writes the kernel does not count."""
        for path, _ in self.seen:
            if path.is_block_device() and written_sectors(path.stat().st_rdev) is None:
                yield f"{path} is a block device: whether something wrote to it meanwhile cannot be seen"

    def confirm(self) -> None:
        """Raise FailedError naming the first file that is no longer as it was."""
        for path, before in self.seen:
            if _look(path) != before:
                raise FailedError(
                    f"{path} was changed while it was read",
                    hint="run the backup again when nothing writes to it",
                    code="changed",
                )


def written_sectors(device: int) -> int | None:
    """Sectors written to or discarded from a block device since it came to be; None if the kernel does not count.

    Source: the kernel's Documentation/block/stat.rst, fields 7 and 14, which partitions have as well.
    """
    at = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    queue = at / "queue" if (at / "queue").exists() else at / ".." / "queue"
    try:
        if (queue / "iostats").read_text().strip() == "0":
            return None
        fields = [int(field) for field in (at / "stat").read_text().split()]
    except OSError:
        return None
    return sum(fields[index] for index in (_WRITTEN, _DISCARDED) if index < len(fields))


def _flush(path: Path) -> None:
    """What was written but is still in the page cache is not counted yet."""
    try:
        device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(device)
        finally:
            os.close(device)
    except OSError as error:
        raise FailedError(f"cannot flush {path}: {error.strerror}") from error


def _look(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise FailedError(f"{path} is gone: {error.strerror}", hint="run the backup again", code="changed") from error
    if stat.S_ISBLK(status.st_mode):
        _flush(path)
        return (status.st_rdev, written_sectors(status.st_rdev) or 0)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
