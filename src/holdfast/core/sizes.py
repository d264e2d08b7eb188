"""Amounts of bytes as people write them."""

import re

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[KMGTP]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(text: str) -> int | None:
    """The number of bytes; 10G and 10GiB are 10 * 2**30. None if it is not a size."""
    size = _SIZE.fullmatch(text)
    return int(float(size["number"]) * 1024 ** _POWERS[size["unit"].upper()]) if size else None


def parse_rate(text: str) -> int | None:
    """Bytes a second: a size, with or without "/s" behind it. None if it is not one, or nothing."""
    return parse_size(text.removesuffix("/s")) or None
