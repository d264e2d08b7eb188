"""`holdfast repository unhide`: bring back what somebody hid or overwrote in a bucket."""

import os

import click

from holdfast.bootstrap.settings import read_storage_settings
from holdfast.bootstrap.wiring import open_hidden_storage
from holdfast.cli.common import Command, Common
from holdfast.cli.output import print_json
from holdfast.repository import hidden_objects, unhide


@click.command(
    "unhide",
    cls=Command,
    examples="holdfast repository unhide --repository s3://bucket/prefix --dry-run\nholdfast repository unhide --json",
)
@click.option("--dry-run", is_flag=True, help="Show what is hidden and change nothing.")
@click.pass_context
def unhide_objects(context: click.Context, *, dry_run: bool) -> None:
    """Bring back what was hidden or overwritten in a bucket.

    In a bucket with object lock, that is: the store keeps every version of what somebody deleted or overwrote.

    What was put over an object, and the marks that hide it, are deleted for good. Needs no passphrase. Stop everything
    that writes first; run `repository rebuild` and `repository check` afterwards.
    """
    common = Common.of(context)
    storage = open_hidden_storage(read_storage_settings(common.options, os.environ))
    found = list(hidden_objects(storage))
    shown = 0 if dry_run else unhide(storage, found)
    if common.json:
        print_json({"dry_run": dry_run, "hidden": [each.name for each in found], "shown_again": shown})
        return
    for each in found:
        click.echo(f"{'hidden' if dry_run else 'shown again'}: {each.name}")
    if not found:
        click.echo("nothing is hidden")
