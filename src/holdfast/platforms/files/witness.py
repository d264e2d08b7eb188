"""Whether files are still what they were when we began to read them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from holdfast.core.errors import FailedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The identity, size and times of some files as of one instant.

    The change time is included, which nobody can set back, although it also moves for harmless reasons (a new owner,
    a new hard link): a false alarm costs a second try. A block device's times say nothing; it always testifies well.
    """

    seen: tuple[tuple[Path, tuple[int, ...]], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Self:
        """Look at the files now. Raises FailedError if one is not there."""
        return cls(seen=tuple((path, _look(path)) for path in paths))

    def confirm(self) -> None:
        """Raise FailedError naming the first file that is no longer as it was."""
        for path, before in self.seen:
            if _look(path) != before:
                raise FailedError(
                    f"{path} was changed while it was read",
                    hint="run the backup again when nothing writes to it",
                    code="changed",
                )


def _look(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise FailedError(f"{path} is gone: {error.strerror}", hint="run the backup again", code="changed") from error
    if path.is_block_device():
        return (status.st_rdev,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
