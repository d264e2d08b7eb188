"""`holdfast file find`: files by name, in one point or in all."""

from typing import Any

import click

from holdfast.cli.common import Command, Common
from holdfast.cli.file import file_row, look, volume_options, wanted_volumes
from holdfast.cli.output import print_json, print_table
from holdfast.core.file_reference import parse_file
from holdfast.jobs.files import FileInfo, find_files

_EXAMPLES = """
holdfast file find web01@latest:/etc '*.conf'
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT:/PATH")
@click.argument("pattern")
@volume_options
@click.pass_context
def find(context: click.Context, /, reference: str, pattern: str, **said: Any) -> None:
    """Find files by name, in one point or in all.

    PATTERN is matched as a shell would match it: against names, or against whole paths if there is a / in it.
    """
    common = Common.of(context)
    wanted_file, wanted = parse_file(reference), wanted_volumes(said)
    with look(common, wanted_file, wanted) as inspection:
        found = [FileInfo.of(entry) for entry in find_files(inspection, wanted_file.path, pattern)]
    if common.json:
        print_json(found)
    else:
        print_table(("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME"), [file_row(each) for each in found])
