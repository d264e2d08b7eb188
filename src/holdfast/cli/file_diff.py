"""`holdfast file diff`: what files changed between two points."""

from typing import Any

import click

from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common
from holdfast.cli.file import volume_options, wanted_volumes
from holdfast.cli.output import local_text, plain, print_json, print_table
from holdfast.cli.point_choice import choose_point
from holdfast.core.file_reference import parse_file
from holdfast.core.selection import parse_reference
from holdfast.core.sizes import size_text
from holdfast.jobs.file_diff import FileChange, compare_files
from holdfast.jobs.files import FileInfo

_EXAMPLES = """
holdfast file diff web01@latest-1:/ web01@latest
holdfast file diff web01@2026-11-22T02:00:/etc web01@latest --json
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("before", metavar="MACHINE@POINT:/PATH")
@click.argument("after", metavar="MACHINE@POINT")
@volume_options
@click.pass_context
def diff(context: click.Context, /, before: str, after: str, **said: Any) -> None:
    """Show what files changed between two points.

    Where the file systems are ext or XFS, only inodes that lie in changed blocks are compared; else both trees are
    walked. `method` says which.
    """
    common = Common.of(context)
    old, newer, wanted = parse_file(before), parse_reference(after), wanted_volumes(common, said)
    with open_for_reading(common.repository(), common.warn) as repository:
        points = choose_point(repository, old.point), choose_point(repository, newer)
        found = compare_files(repository, *points, old.path, wanted)
    if common.json:
        shape = {"before": points[0].id, "after": points[1].id, **plain(found)}
        print_json(shape)
    else:
        print_table(("CHANGE", "SIZE BEFORE", "SIZE", "MODIFIED", "NAME"), [_row(each) for each in found.changes])


def _row(change: FileChange) -> tuple[str, ...]:
    return change.change, _size(change.before), _size(change.after), _modified(change.after), change.path


def _size(found: FileInfo | None) -> str:
    return "" if found is None else size_text(found.size_bytes)


def _modified(found: FileInfo | None) -> str:
    return local_text(found.modified_at) if found and found.modified_at else ""
