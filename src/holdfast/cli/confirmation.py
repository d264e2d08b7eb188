"""Asking before something is deleted."""

import sys

import click

from holdfast.core.errors import RefusedError

YES = click.option("-y", "--yes", is_flag=True, help="Do not ask whether to delete.")


def confirm(deed: str, loss: str = "", *, yes: bool) -> None:
    """Return if the deed, in the words of "… ?", was agreed to; `loss`, a sentence, says more. Raises RefusedError."""
    if yes:
        return
    if not sys.stdin.isatty():
        message = f"refusing to {deed} without --yes where no terminal asks{loss and f': {loss}'}"
        raise RefusedError(message, hint="look first, then give --yes", code="not-confirmed")
    if not click.confirm(f"{deed[0].upper()}{deed[1:]}{loss and f' ({loss})'}?", err=True):
        raise RefusedError("not confirmed: nothing was changed", code="not-confirmed")
