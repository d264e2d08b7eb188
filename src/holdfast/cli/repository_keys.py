"""`holdfast repository keys`: who can open the repository."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.new_secret import new_recovery_secret, obtain_new_secret, private_file
from holdfast.bootstrap.settings import NewSecretOptions, find_new_secret
from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common, Group, ask_twice
from holdfast.cli.confirmation import YES, confirm
from holdfast.cli.output import local_text, print_facts, print_json, print_table
from holdfast.cli.recovery_kit import in_rows, kit_page
from holdfast.cli.recovery_shares import parse_division, share_lines
from holdfast.core.errors import FailedError, HoldfastError, UsageError
from holdfast.repository import Repository, Secret, SlotRecord, shares_of_key


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryShown:
    """A recovery key that was added, as `keys recovery --json` shows it: in one of three ways, this once."""

    number: int
    kit: Path | None = None
    recovery_key: str | None = None
    shares: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShown:
    """A key as `keys list` shows it. Of one that is `unfinished`, nothing is known but that it stands there."""

    number: int
    kind: str | None
    label: str | None
    created_at: datetime | None
    may_delete: bool | None
    in_use: bool
    state: str

    @classmethod
    def of(cls, slot: SlotRecord, in_use: int) -> "KeyShown":
        """A key that opens the repository."""
        return cls(
            number=slot.number,
            kind=slot.kind,
            label=slot.label,
            created_at=slot.created_at,
            may_delete=slot.may_sign,
            in_use=slot.number == in_use,
            state="valid",
        )

    @classmethod
    def unfinished(cls, number: int) -> "KeyShown":
        """A key that somebody is adding, or did not finish to add."""
        return cls(
            number=number,
            kind=None,
            label=None,
            created_at=None,
            may_delete=None,
            in_use=False,
            state="unfinished",
        )


@click.group(cls=Group)
def keys() -> None:
    """See and change who can open the repository.

    Three things are different. `change` gives the key in use another passphrase: what the old one opened it still opens
    for whoever has an old copy of its slot. `rotate` and `remove` begin a new epoch: what is stored from then on is
    sealed with new keys, which a removed key never gets. What was stored before stays as it is: only a copy into a new
    repository seals it anew.
    """


def _new_secret_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say where a new secret comes from, given to the command as one."""

    @click.option(
        "--new-passphrase-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read the new passphrase from FILE. [HOLDFAST_NEW_PASSPHRASE_FILE]",
    )
    @click.option(
        "--new-passphrase-command",
        metavar="COMMAND",
        help="Run COMMAND, it prints the new passphrase. [HOLDFAST_NEW_PASSPHRASE_COMMAND]",
    )
    @click.option(
        "--new-key-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use a key file instead; it is made of random bytes if it does not exist. [HOLDFAST_NEW_KEY_FILE]",
    )
    @wraps(command)
    def with_secret(
        *arguments: Any,
        new_passphrase_file: Path | None,
        new_passphrase_command: str | None,
        new_key_file: Path | None,
        **more: Any,
    ) -> None:
        options = NewSecretOptions(
            passphrase_file=new_passphrase_file, passphrase_command=new_passphrase_command, key_file=new_key_file
        )
        command(*arguments, options=options, **more)

    return with_secret


@keys.command("list", cls=Command, examples="holdfast repository keys list --repository /srv/backup")
@click.pass_context
def list_keys(context: click.Context) -> None:
    """List the keys that open the repository."""
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        ring = repository.keyring
        shown = [KeyShown.of(slot, ring.in_use) for slot in ring.slots()]
        shown += map(KeyShown.unfinished, ring.unfinished())
    if common.json:
        print_json(shown)
        return
    headings = ("KEY", "KIND", "LABEL", "MADE", "MAY DELETE", "STATE")
    print_table(headings, [_row(each) for each in shown])


@keys.command(
    cls=Command,
    examples="holdfast repository keys add --label night-shift\n"
    "holdfast repository keys add --new-key-file /root/holdfast.key --label mover1 --backup-only",
)
@click.option("--label", default="", metavar="TEXT", help="Whose key it is, or where it is kept.")
@click.option("--backup-only", is_flag=True, help="It may back up and restore, but neither delete nor change keys.")
@_new_secret_options
@click.pass_context
def add(context: click.Context, options: NewSecretOptions, label: str, *, backup_only: bool) -> None:
    """Add a key: a passphrase, or a key file."""
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        slot = repository.keyring.add(_obtain(options), label, may_sign=not backup_only)
        _show(common, slot, repository)


@keys.command(cls=Command, examples="holdfast repository keys change --new-passphrase-file ~/.holdfast-new")
@_new_secret_options
@click.pass_context
def change(context: click.Context, options: NewSecretOptions) -> None:
    """Give the key in use another passphrase or key file.

    If the old one may be known to somebody else, this is not enough: `add` a new key and `remove` the old one.
    """
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        slot = repository.keyring.change(_obtain(options))
        _sweep(common, repository)
        _show(common, slot, repository)


@keys.command(cls=Command, examples="holdfast repository keys remove 2 --yes")
@click.argument("number", type=click.IntRange(min=1), metavar="KEY")
@YES
@click.pass_context
def remove(context: click.Context, number: int, *, yes: bool) -> None:
    """Remove a key, and begin a new epoch that it cannot open.

    What was stored before, somebody who has the key and an old copy of the repository can still read. The key in use
    cannot be removed: open the repository with another.
    """
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        confirm(f"remove key {number} for good", yes=yes)
        epoch = repository.keyring.remove(number)
        _sweep(common, repository)
    _tell(common, {"removed": number, "epoch": epoch}, f"key {number} is removed; epoch {epoch}")


@keys.command(cls=Command, examples="holdfast repository keys rotate")
@click.pass_context
def rotate(context: click.Context) -> None:
    """Seal what is stored from now on with new keys.

    A new epoch begins; whoever has a key is handed its secrets, so all keys keep opening everything.
    """
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        epoch = repository.keyring.rotate()
    _tell(common, {"epoch": epoch}, f"epoch {epoch} has begun")


@keys.command(
    cls=Command,
    examples="holdfast repository keys recovery\nholdfast repository keys recovery --kit /media/usb/holdfast-kit.txt\n"
    "holdfast repository keys recovery --shares 3-of-5 --label board",
)
@click.option("--label", default="recovery key", show_default=True, metavar="TEXT", help="Where it is kept.")
@click.option(
    "--kit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page to print instead: the words, the repository, and how to restore. FILE must not exist.",
)
@click.option(
    "--shares",
    metavar="K-of-N",
    help="Show N shares instead, of 33 words each: any K of them open the repository, fewer do not.",
)
@click.pass_context
def recovery(context: click.Context, label: str, kit: Path | None, shares: str | None) -> None:
    """Add a recovery key: 24 words that are shown this once.

    Wherever a passphrase is asked for, the words open the repository. Keep them on paper, apart from it. With --shares
    nobody has the whole key: give each share to somebody else. Typed one after the other, K of them open.
    """
    common = Common.of(context)
    if kit is not None and kit.exists():
        raise UsageError(f"{kit} exists", hint="give another name", code="file-exists")
    if kit is not None and shares is not None:
        hint = "a page with the whole key would undo the shares; make another recovery key for the page"
        raise UsageError("--kit and --shares do not go together", hint=hint)
    if kit is not None:
        number = _add_with_kit(common, label, kit)
        done = f"key {number} is added; print {kit}, then destroy the file"
        _show_recovery(common, RecoveryShown(number=number, kit=kit), done)
        return
    division = None if shares is None else parse_division(shares)
    secret = new_recovery_secret()
    words = secret.content.decode()
    divided = None if division is None else shares_of_key(words, division)
    with open_repository(common.repository(), common.warn) as repository:
        number, repository_id = repository.keyring.add(secret, label).number, repository.id
    if division is None or divided is None:
        _show_recovery(common, RecoveryShown(number=number, recovery_key=words), *in_rows(words))
    else:
        lines = share_lines(divided, division, repository_id)
        _show_recovery(common, RecoveryShown(number=number, shares=divided), *lines)


def _add_with_kit(common: Common, label: str, kit: Path) -> int:
    """Add a recovery key whose words stand nowhere but in a new file. Returns its number."""
    secret = new_recovery_secret()
    slot: SlotRecord | None = None
    with open_repository(common.repository(), common.warn) as repository:
        try:
            with private_file(kit) as page:
                slot = repository.keyring.add(secret, label)
                page.write(kit_page(repository, slot, secret.content.decode()).encode())
        except HoldfastError as error:
            if slot is None:
                raise
            message = f"key {slot.number} was added, but its words could not be written to {kit}: {error.message}"
            hint = f"nobody has them: `holdfast repository keys remove {slot.number}`, then run again"
            raise FailedError(message, hint=hint, code="kit-not-written") from error
        return slot.number


def _show_recovery(common: Common, shown: RecoveryShown, *lines: str) -> None:
    if common.json:
        print_json(shown)
    else:
        click.echo("\n".join(lines))


def _obtain(options: NewSecretOptions) -> Secret:
    ask = partial(ask_twice, "New passphrase") if sys.stdin.isatty() else None
    return obtain_new_secret(find_new_secret(options, os.environ, ask))


def _sweep(common: Common, repository: Repository) -> None:
    for number in repository.keyring.sweep():
        common.warn(f"the storage does not let key {number} be deleted; it opens nothing any more")


def _show(common: Common, slot: SlotRecord, repository: Repository) -> None:
    shown = KeyShown.of(slot, repository.keyring.in_use)
    if common.json:
        print_json(shown)
        return
    print_facts([("Key", str(shown.number)), ("Kind", slot.kind), ("Label", slot.label)])


def _tell(common: Common, value: Any, line: str) -> None:
    if common.json:
        print_json(value)
    else:
        click.echo(line)


def _row(shown: KeyShown) -> tuple[str, ...]:
    return (
        f"{shown.number}{' *' if shown.in_use else ''}",
        shown.kind or "-",
        shown.label or "-",
        local_text(shown.created_at) if shown.created_at else "-",
        "-" if shown.may_delete is None else "yes" if shown.may_delete else "no",
        shown.state,
    )
