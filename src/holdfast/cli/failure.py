"""Every way a command can fail, as one kind of error with one exit status, told to people or to programs."""

import errno
import json
import sys
import traceback
from typing import Any

import click

from holdfast.cli.interrupt import Interrupted
from holdfast.cli.output import printable
from holdfast.core.errors import DeniedError, FailedError, FullError, HoldfastError, NotFoundError, UsageError

_OS_ERRORS: dict[int, type[HoldfastError]] = {
    errno.ENOENT: NotFoundError,
    errno.EACCES: DeniedError,
    errno.EPERM: DeniedError,
    errno.ENOSPC: FullError,
    errno.EDQUOT: FullError,
}


def exit_status(error: BaseException) -> int:
    """The status the process ends with because of `error`."""
    if isinstance(error, Interrupted):
        return error.exit_status
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    return translate(error).exit_status


def translate(error: BaseException) -> HoldfastError:
    """`error` as one the user can read; ours pass through."""
    match error:
        case HoldfastError():
            return error
        case click.Abort():
            return UsageError("no answer", hint="give what was asked for as an option or variable", code="aborted")
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "holdfast"
            return UsageError(error.format_message(), hint=f"{command} --help")
        case OSError():
            kind = _OS_ERRORS.get(error.errno or 0, FailedError)
            where = f"{error.filename}: " if error.filename else ""
            return kind(f"{where}{error.strerror or error}", code="system")
        case _:
            return _unforeseen(error)


def _unforeseen(error: BaseException) -> FailedError:
    if isinstance(error, Interrupted):
        return FailedError(str(error), code="interrupted")
    if isinstance(error, ImportError):
        return FailedError(f"a library is missing: {error}", hint="holdfast doctor", code="missing-library")
    return FailedError(
        f"internal error: {type(error).__name__}: {error}",
        hint="run it again with HOLDFAST_DEBUG=1 and report what it prints",
        code="internal",
    )


def error_shape(error: BaseException) -> dict[str, Any]:
    """`kind`, `message`, `hint` and `code` of `error`."""
    known = translate(error)
    return {"kind": known.kind, "message": known.message, "hint": known.hint, "code": known.code}


def report(error: BaseException, *, as_json: bool, with_traceback: bool) -> None:
    """Tell the user about `error` on stderr."""
    if with_traceback and not isinstance(error, HoldfastError | click.ClickException | Interrupted):
        traceback.print_exception(error, file=sys.stderr)
    if as_json:
        click.echo(json.dumps({"error": error_shape(error), "exit": exit_status(error)}), err=True)
        return
    known = translate(error)
    click.echo(f"error: {_shown(known.message)}", err=True)
    if known.hint:
        click.echo(f"  hint: {_shown(known.hint)}", err=True)


def _shown(text: str) -> str:
    """Lines as they are, and nothing in them that moves a cursor: guests name files, and links."""
    return "\n".join(printable(line) for line in text.splitlines())
