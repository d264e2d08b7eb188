"""A recovery key in shares, as one asks for it and as it is shown."""

import re

from holdfast.cli.recovery_kit import in_rows
from holdfast.core.errors import UsageError
from holdfast.repository import Division

_WANTED = re.compile("([0-9]{1,4})-of-([0-9]{1,4})")


def parse_division(value: str) -> Division:
    """What `K-of-N` means. Raises UsageError."""
    match = _WANTED.fullmatch(value)
    if match is None:
        raise UsageError(f"--shares: {value!r} is not K-of-N", hint="for instance --shares 3-of-5", code="bad-shares")
    return Division(needed=int(match[1]), count=int(match[2]))


def share_lines(shares: list[str], division: Division, repository_id: str) -> list[str]:
    """The lines for a terminal: each share with its number, to be copied onto a paper of its own with what is above."""
    lines = [f"Any {division.needed} of these {division.count} shares open the repository, fewer are of no use."]
    for number, share in enumerate(shares, 1):
        lines += ["", f"Share {number} of {division.count}, {division.needed} open repository {repository_id}"]
        lines += in_rows(share)
    return lines
