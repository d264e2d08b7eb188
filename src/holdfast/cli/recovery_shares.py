"""A recovery key in shares, as one asks for it and as it is shown."""

import re

from holdfast.cli.recovery_kit import in_rows
from holdfast.core.errors import UsageError
from holdfast.repository import MOST_SHARES

_WANTED = re.compile("([0-9]{1,4})-of-([0-9]{1,4})")


def parse_shares(value: str) -> tuple[int, int]:
    """Parse `K-of-N`: how many shares open the repository, and how many there are. Raises UsageError."""
    match = _WANTED.fullmatch(value)
    if match is None:
        raise UsageError(f"--shares: {value!r} is not K-of-N", hint="for instance --shares 3-of-5", code="bad-shares")
    needed, count = int(match[1]), int(match[2])
    if needed < 2:
        hint = "one share alone would be the key: leave --shares out for 24 words, or say 2-of-3"
        raise UsageError(f"--shares: {value!r} divides nothing", hint=hint, code="bad-shares")
    if not needed <= count <= MOST_SHARES:
        hint = f"{MOST_SHARES} shares are the most, and not more can be needed than there are"
        raise UsageError(f"--shares: {value!r} cannot be", hint=hint, code="bad-shares")
    return needed, count


def shares_shown(shares: list[str], needed: int) -> list[str]:
    """The lines for a terminal: each share with its number, to be copied onto a paper of its own."""
    lines = [f"Any {needed} of these {len(shares)} shares open the repository, fewer are of no use."]
    for number, share in enumerate(shares, 1):
        lines += ["", f"Share {number} of {len(shares)}", *in_rows(share)]
    return lines
