"""Where a command is to write a small file at its end: looked at before the work, so that it is not done in vain."""

import os
from pathlib import Path

from holdfast.core.errors import DeniedError, UsageError, no_directory


def require_place(path: Path) -> None:
    """Raise NotFoundError, DeniedError or UsageError if no file can be written at `path`."""
    directory = path.absolute().parent
    if not directory.is_dir():
        raise no_directory(directory)
    if path.is_dir():
        raise UsageError(f"{path} is a directory", hint="name a file in it")
    if not os.access(path if path.exists() else directory, os.W_OK):
        raise DeniedError(f"{path} cannot be written", hint="check who may write there, or name another place")
