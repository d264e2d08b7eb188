"""The machine that a point is of, where it is still there."""

from holdfast.core.errors import NotFoundError
from holdfast.core.point import RestorePoint
from holdfast.core.ports import Platform


def find_machine(platform: Platform, machine_id: str, point: RestorePoint) -> str:
    """The platform's identity of a machine that is to become what it was at a point. Raises NotFoundError."""
    try:
        return platform.find(machine_id)
    except NotFoundError as error:
        raise NotFoundError(
            f"{point.machine} ({machine_id}) is not there any more",
            hint="make it anew, under a name: --name NEW",
            code="no-such-machine",
        ) from error
