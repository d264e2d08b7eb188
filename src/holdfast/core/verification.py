"""What came out when a point was recovered on trial."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """One thing that was looked at, what it should be, and in `detail` what it was."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A recovery on trial, as the repository remembers it: taken at that time by that user@host.

    `picture` is the root (hex) of a PNG of the console, None if none was taken.
    """

    at: datetime
    by: str
    checks: tuple[CheckOutcome, ...]
    picture: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the point is proven to be recoverable: something was looked at, and all of it was right."""
        return bool(self.checks) and all(check.ok for check in self.checks)
