"""Every error a user can meet, with what was wrong, where, and what to do about it.

    HoldfastError
    ├── UsageError          the command cannot mean anything          exit 2
    ├── NotFoundError       no such machine, point, disk, repository  exit 4
    ├── DeniedError         wrong passphrase, no right                exit 5
    ├── RefusedError        a guard says no                           exit 6
    ├── UnreachableError    hypervisor or storage does not answer     exit 7
    ├── ConflictError       somebody else holds it, retry later       exit 9
    ├── DamagedError        bytes are not what was written            exit 1
    ├── FullError           no space left                             exit 1
    └── FailedError         anything else that ended the work         exit 1

Each class carries its `kind` (the word in `--json`) and its exit status; `code` tells the cases of one kind apart.
"""

from pathlib import Path
from typing import ClassVar


class HoldfastError(Exception):
    """An error for the user: `message` says what and where, `hint` what to do, `code` is stable for programs."""

    kind: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.kind


class UsageError(HoldfastError):
    """The request cannot mean anything, or more than one thing."""

    kind = "usage"
    exit_status = 2


class NotFoundError(HoldfastError):
    """A named machine, point, disk, object or repository does not exist."""

    kind = "notfound"
    exit_status = 4


class DeniedError(HoldfastError):
    """The passphrase is wrong or a right is missing."""

    kind = "denied"
    exit_status = 5


class RefusedError(HoldfastError):
    """A guard refuses: going on could lose something or mislead somebody."""

    kind = "refused"
    exit_status = 6


class UnreachableError(HoldfastError):
    """A hypervisor, guest agent or storage does not answer."""

    kind = "unreachable"
    exit_status = 7


class ConflictError(HoldfastError):
    """Somebody else is at it; trying later can succeed."""

    kind = "conflict"
    exit_status = 9


class DamagedError(HoldfastError):
    """Stored bytes are not what was written."""

    kind = "damaged"


class FullError(HoldfastError):
    """There is no space left where something had to be written."""

    kind = "full"


class FailedError(HoldfastError):
    """The work ended without its result for a reason that has no kind of its own."""


def no_directory(path: Path) -> NotFoundError:
    """The error where something was to be made in a directory that does not exist."""
    return NotFoundError(f"directory {path} does not exist", hint="create it or name another")
