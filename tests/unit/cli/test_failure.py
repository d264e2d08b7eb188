"""Every failure has one exit status and one shape."""

import signal

import click
import pytest

from holdfast.cli.failure import error_shape, exit_status
from holdfast.cli.interrupt import Interrupted
from holdfast.cli.stream import worst
from holdfast.core import errors


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.UsageError("x"), 2, "usage"),
        (errors.NotFoundError("x"), 4, "notfound"),
        (errors.DeniedError("x"), 5, "denied"),
        (errors.RefusedError("x"), 6, "refused"),
        (errors.UnreachableError("x"), 7, "unreachable"),
        (errors.ConflictError("x"), 9, "conflict"),
        (errors.DamagedError("x"), 1, "damaged"),
        (errors.FullError("x"), 1, "full"),
        (errors.FailedError("x"), 1, "failed"),
        (click.UsageError("x"), 2, "usage"),
        (click.BadParameter("x"), 2, "usage"),
        (click.Abort(), 2, "usage"),
        (FileNotFoundError(2, "No such file", "/x"), 4, "notfound"),
        (PermissionError(13, "Permission denied", "/x"), 5, "denied"),
        (OSError(28, "No space left on device", "/x"), 1, "full"),
        (OSError(5, "Input/output error", "/x"), 1, "failed"),
        (ImportError("No module named 'libvirt'"), 1, "failed"),
        (ZeroDivisionError("x"), 1, "failed"),
        (Interrupted(signal.SIGINT), 130, "failed"),
        (Interrupted(signal.SIGTERM), 143, "failed"),
    ],
)
def test_each_failure_has_its_status_and_kind(error: BaseException, status: int, kind: str) -> None:
    assert exit_status(error) == status
    shape = error_shape(error)
    assert shape["kind"] == kind
    assert set(shape) == {"kind", "message", "hint", "code"}
    assert all(isinstance(value, str) for value in shape.values())


def test_an_unexpected_error_says_that_it_is_ours_and_how_to_see_more() -> None:
    shape = error_shape(ZeroDivisionError("by zero"))
    assert shape["message"] == "internal error: ZeroDivisionError: by zero"
    assert "HOLDFAST_DEBUG" in shape["hint"]


def test_an_error_of_the_system_names_the_file() -> None:
    assert error_shape(OSError(28, "No space left on device", "/srv/x"))["message"] == "/srv/x: No space left on device"


@pytest.mark.parametrize(
    ("statuses", "status"),
    [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 7, 0], 7), ([4, 4], 4), ([4, 7], 1), ([3, 3], 3)],
)
def test_several_machines_end_with_the_worst_status(statuses: list[int], status: int) -> None:
    assert worst(statuses) == status
