"""Whether a point that stands in the log can be one: everything after this relies on it."""

import re
from datetime import datetime
from typing import Final

import msgspec

from holdfast.core.point import RestorePoint

_NODE: Final = re.compile("[0-9a-f]{64}")
_LARGEST_SIZE: Final = 2**63 - 1
_YEARS: Final = range(2, 9999)
"""In any zone these are years that can be shown."""


def require_plausible(point: RestorePoint) -> None:
    """Raise msgspec.ValidationError unless sizes, times and ids are what they are called."""
    names = [disk.name for disk in point.disks]
    roots = [disk.root for disk in point.disks]
    roots += [blob for blob in (point.definition.xml, point.definition.nvram) if blob is not None]
    wrong = (
        "two disks of one name" * (len(set(names)) < len(names)),
        "a root that is no id" * (not all(map(_NODE.fullmatch, roots))),
        "an impossible size" * (not all(0 <= disk.size_bytes <= _LARGEST_SIZE for disk in point.disks)),
        "an impossible count" * (min([point.base, *(disk.proof for disk in point.disks)]) < 0),
        "an impossible time" * (not all(map(_is_instant, (point.created_at, point.captured_at)))),
    )
    if any(wrong):
        raise msgspec.ValidationError(f"point {point.id} has {', '.join(filter(None, wrong))}")


def _is_instant(time: datetime) -> bool:
    return time.tzinfo is not None and time.year in _YEARS
