"""`holdfast file find`: files by name, in one point or in all."""

from typing import Any

import click

from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common
from holdfast.cli.file import file_row, look, volume_options, wanted_volumes
from holdfast.cli.output import local_text, plain, print_json, print_table
from holdfast.core.file_reference import AnywhereReference, FileReference, parse_anywhere
from holdfast.core.selection import points_of
from holdfast.core.sizes import size_text
from holdfast.filesystems import Wanted
from holdfast.jobs.files import FileInfo, find_files
from holdfast.jobs.versions import FileVersion, find_versions

_EXAMPLES = """
holdfast file find web01@latest:/etc '*.conf'
holdfast file find web01:/home 'budget*'
holdfast file find :/ id_ed25519
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("where", metavar="MACHINE[@POINT]:/PATH")
@click.argument("pattern")
@volume_options
@click.pass_context
def find(context: click.Context, /, where: str, pattern: str, **said: Any) -> None:
    """Find files by name, in one point or in all.

    PATTERN is matched as a shell would match it: against names, or against whole paths if there is a / in it. Without
    a point all points of MACHINE are looked into, and :/PATH means all machines: then each version of a file is shown
    once, with the points that hold it.
    """
    common = Common.of(context)
    wanted = wanted_volumes(common, said)
    match parse_anywhere(where):
        case FileReference() as reference:
            _find_in_one(common, reference, pattern, wanted)
        case AnywhereReference() as anywhere:
            _find_in_all(common, anywhere, pattern, wanted)


def _find_in_one(common: Common, reference: FileReference, pattern: str, wanted: Wanted) -> None:
    with look(common, reference, wanted) as inspection:
        found = [FileInfo.of(entry) for entry in find_files(inspection, reference.path, pattern)]
    if common.json:
        print_json(found)
    else:
        print_table(("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME"), [file_row(each) for each in found])


def _find_in_all(common: Common, anywhere: AnywhereReference, pattern: str, wanted: Wanted) -> None:
    with open_for_reading(common.repository(), common.warn) as repository:
        points = repository.points()
        points = points if anywhere.machine is None else points_of(points, anywhere.machine)
        found = list(find_versions(repository, points, anywhere.path, pattern, wanted, _Warnings(common)))
    if common.json:
        print_json([_shape(each) for each in found])
    else:
        headings = ("MACHINE", "FIRST POINT", "CAPTURED", "LAST POINT", "POINTS", "SIZE", "MODIFIED", "NAME")
        print_table(headings, [_row(each) for each in found])


class _Warnings:
    """Progress of which only warnings are told."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def step(self, text: str) -> None:
        """Ignore it."""

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Ignore it."""

    def warning(self, text: str) -> None:
        """On stderr."""
        self._common.warn(text)


def _shape(version: FileVersion) -> dict[str, Any]:
    """The file's fields beside those of the version."""
    shape: dict[str, Any] = plain(version)
    return {**shape.pop("file"), **shape}


def _row(version: FileVersion) -> tuple[str, ...]:
    modified = version.file.modified_at
    return (
        version.machine,
        version.first_point,
        local_text(version.first_captured_at),
        version.last_point,
        str(version.points),
        size_text(version.file.size_bytes),
        local_text(modified) if modified else "?",
        version.file.path,
    )
