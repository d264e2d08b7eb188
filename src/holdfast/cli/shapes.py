"""A restore point as `--json` shows it; the other shapes are their dataclasses' fields."""

from typing import Any

from holdfast.cli.output import plain
from holdfast.core.point import RestorePoint


def point_shape(point: RestorePoint, repository_id: str) -> dict[str, Any]:
    """The contract's fields. A disk's mark is its platform's own affair and stays out."""
    shape: dict[str, Any] = plain(point)
    for disk in shape["disks"]:
        del disk["mark"]
    return {**shape, "repository": repository_id}
