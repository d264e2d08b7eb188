"""Amounts of bytes as people read and write them."""

import math
import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[KMGTP]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def size_text(size_bytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    value, unit = float(size_bytes), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:  # what would round to 1024.0 belongs to the next unit
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"


def parse_size(text: str) -> int | None:
    """The number of bytes; 10G and 10GiB are 10 * 2**30. None if it is not a size."""
    size = _SIZE.fullmatch(text)
    number = float(size["number"]) * 1024 ** _POWERS[size["unit"].upper()] if size else math.inf
    return int(number) if math.isfinite(number) else None


def parse_rate(text: str) -> int | None:
    """Bytes a second: a size, with or without "/s" behind it. None if it is not one, or nothing."""
    return parse_size(text.removesuffix("/s")) or None
