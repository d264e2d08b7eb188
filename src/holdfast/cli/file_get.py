"""`holdfast file get`: bring a file or a folder back."""

import os
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.file import volume_options, wanted_volumes
from holdfast.cli.output import size_text
from holdfast.cli.point_choice import choose_point
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.file_reference import FileReference, parse_file
from holdfast.jobs.extract import ExtractResult, extract
from holdfast.jobs.files import doubts, looked_into
from holdfast.mover.archives import TarArchive, ZipArchive
from holdfast.mover.unpacking import Destination, Unpacked

_EXAMPLES = """
holdfast file get web01@latest:/etc/nginx --output nginx
holdfast file get web01@latest-3:/home/anna --output anna.tar --archive tar
"""


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT:/PATH")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="PATH", help="The new file or directory."
)
@click.option("--archive", type=click.Choice(["tar", "zip"]), help="Put it into one archive instead.")
@volume_options
@click.pass_context
def get(context: click.Context, /, reference: str, output: Path, archive: str | None, **said: Any) -> int:
    """Bring a file or a folder back.

    Owners, modes, times and extended attributes are kept; owners only where root does it. PATH must not exist, and is
    called PATH.partial until all is there.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted_file, wanted = parse_file(reference), wanted_volumes(said)
        with open_for_reading(common.repository(), run.warn) as repository:
            point = choose_point(repository, wanted_file.point)
            with run.watch(point.machine) as progress, looked_into(repository, point, wanted) as inspection:
                for doubt in doubts(point, inspection):
                    run.warn(doubt)
                destination = _destination(wanted_file, output, archive)
                result = extract(repository, point, inspection, wanted_file.path, destination, progress)
        run.result(result, _lines(result), warnings=result.warnings)
    return run.exit_status


def _destination(wanted: FileReference, output: Path, archive: str | None) -> Destination:
    place = os.fsencode(output.absolute())
    top = wanted.path.rstrip(b"/").rpartition(b"/")[2]
    if top in {b"", b".", b".."}:
        top = os.fsencode(wanted.point.machine or "files").replace(b"/", b"_")
    match archive:
        case "tar":
            return TarArchive(place, top)
        case "zip":
            return ZipArchive(place, top)
        case _:
            return Unpacked(place)


def _lines(result: ExtractResult) -> list[str]:
    counts = f"{result.files} files, {result.directories} folders and {result.links} links"
    return [
        f"{result.output}: {counts} of {result.path} in point {result.point} of {result.machine}",
        f"  {size_text(result.bytes)}, {result.seconds:.1f} s",
    ]
