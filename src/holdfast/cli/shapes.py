"""A restore point as `--json` shows it; the other shapes are their dataclasses' fields."""

from datetime import datetime
from typing import Any

from holdfast.cli.output import plain
from holdfast.core.verification import Verification
from holdfast.repository import Standing


def point_shape(standing: Standing, repository_id: str, now: datetime) -> dict[str, Any]:
    """The contract's fields, and what has been decided. What only the next backup needs stays out."""
    shape: dict[str, Any] = plain(standing.seen_at(now))
    del shape["base"]
    for disk in shape["disks"]:
        del disk["mark"], disk["proof"]
    holds = [
        {"id": name, "until": plain(hold.until), "reason": hold.reason, "by": hold.by}
        for name, hold in standing.holds_at(now).items()
    ]
    return {
        **shape,
        "pinned": standing.pinned,
        "holds": holds,
        "locked_until": plain(standing.locked_until),
        "verification": None if standing.verification is None else _verification_shape(standing.verification),
        "trashed_at": plain(standing.trashed_at),
        "trashed_by": standing.trashed_by or None,
        "repository": repository_id,
    }


def _verification_shape(verification: Verification) -> dict[str, Any]:
    shape: dict[str, Any] = plain(verification)
    return {"ok": verification.ok, **shape, "picture": verification.picture is not None}
