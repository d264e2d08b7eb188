"""Places for files that live no longer than a test run."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new directory with a short path (UNIX socket paths end at 107 bytes), removed with all it holds."""
    directory = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
