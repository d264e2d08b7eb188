"""`holdfast repository`: where restore points live."""

import click

from holdfast.bootstrap.wiring import create_repository, open_repository
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.output import print_facts, print_json
from holdfast.cli.repository_check import check
from holdfast.cli.repository_collect import collect
from holdfast.cli.repository_keys import keys
from holdfast.cli.repository_purge import purge
from holdfast.cli.repository_rebuild import rebuild
from holdfast.cli.repository_unhide import unhide_objects
from holdfast.core.sizes import size_text
from holdfast.repository import RepositoryInfo


@click.group(cls=Group)
def repository() -> None:
    """Make, describe and check repositories."""


repository.add_command(check)
repository.add_command(keys)
repository.add_command(rebuild)
repository.add_command(purge)
repository.add_command(collect)
repository.add_command(unhide_objects)


@repository.command(
    cls=Command,
    examples="holdfast repository create --repository /srv/backup\n"
    "holdfast repository create --repository /srv/backup --passphrase-file ~/.holdfast-passphrase --json\n"
    "holdfast repository create s3://bucket/prefix\n"
    "holdfast repository create --repository /mnt/second --like /srv/backup",
)
@click.option(
    "--like",
    metavar="URL",
    help="Name and cut blocks as the repository at URL does, so that copies between the two move only what is missing "
    "and are never decoded. [its secret, if another: HOLDFAST_LIKE_PASSPHRASE, …_FILE, …_COMMAND, "
    "HOLDFAST_LIKE_KEY_FILE]",
)
@click.argument("url", required=False)
@click.pass_context
def create(context: click.Context, url: str | None, like: str | None) -> None:
    """Make a new, empty repository.

    It is made at URL, or where --repository says. A directory must be empty or not exist yet; the directory above it,
    or the bucket, must exist. Without the passphrase nothing in it can ever be read again: keep it where the repository
    is not, and let `repository keys recovery` print a second way in. With --key-file, a file that does not exist is
    made.
    """
    common = Common.of(context)
    settings = common.new_repository(url)
    if like is None:
        _show(create_repository(settings).info(), as_json=common.json)
        return
    with open_repository(common.like(like, settings), common.warn) as other:
        _show(create_repository(settings, other).info(), as_json=common.json)


@repository.command(cls=Command, examples="holdfast repository info --repository /srv/backup")
@click.pass_context
def info(context: click.Context) -> None:
    """Tell what the repository holds and how much room that takes."""
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as opened:
        _show(opened.info(), as_json=common.json)


_LOCKS = {
    "store": "kept by the store (object lock)",
    "log": "kept by Holdfast only: the storage locks nothing",
    "unknown": "unknown: the storage does not say whether it locks",
}


def _show(described: RepositoryInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(described)
        return
    print_facts(
        [
            ("Repository", described.url),
            ("Id", described.id),
            ("Format", f"{described.format} ({', '.join(described.features) or 'no features'})"),
            ("Machines", str(described.machines)),
            ("Points", str(described.points)),
            ("Protected", size_text(described.plain_bytes)),
            ("Stored", f"{size_text(described.stored_bytes)} in {described.packs} packs"),
            ("Locks", _LOCKS[described.locks]),
            ("Log position", str(described.log_position)),
        ]
    )
