"""A restore point as `--json` shows it; the other shapes are their dataclasses' fields."""

from typing import Any

from holdfast.cli.output import plain
from holdfast.core.point import RestorePoint


def point_shape(point: RestorePoint, repository_id: str) -> dict[str, Any]:
    """The contract's fields. What only the next backup needs stays out."""
    shape: dict[str, Any] = plain(point)
    del shape["base"]
    for disk in shape["disks"]:
        del disk["mark"], disk["proof"]
    return {**shape, "repository": repository_id}
