"""Copies of kept repositories for one measurement to change: what no program changes once it is written is linked."""

import os
import shutil
from pathlib import Path

_LINKED_BYTES = 64 << 10
"""Smaller files are copied: a program's state is among them."""


def linked_copy(kept: Path, place: Path) -> None:
    """A copy at `place`, in place of an earlier one, on the same file system."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kept, place, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> str:
    if Path(source).stat().st_size < _LINKED_BYTES:
        return str(shutil.copy2(source, target))
    os.link(source, target)
    return target
