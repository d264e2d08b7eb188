"""What the operating system says of a repository's files, in our errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.core.errors import DeniedError, FullError, HoldfastError
from holdfast.repository.storage.port import ObjectMissingError, StorageError

FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What says that there is no room."""
_MAKE_ROOM: Final = (
    "free space or enlarge the file system, run again; what purged points and failed backups left, "
    "`holdfast repository collect` frees"
)


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into ours, naming the file."""
    try:
        yield
    except OSError as error:
        raise _translate(error, path) from error


def _translate(error: OSError, path: Path) -> HoldfastError:
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return ObjectMissingError(f"{path} does not exist", code="object-missing")
    if error.errno in FULL:
        return FullError(f"no space left for {path}: {reason}", hint=_MAKE_ROOM)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return DeniedError(f"{path}: {reason}", hint="run as a user who may read and write the repository")
    return StorageError(f"{path}: {reason}", hint="check the disk and the kernel's log, then run again")
