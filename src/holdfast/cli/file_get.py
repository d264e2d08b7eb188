"""`holdfast file get`: bring a file or a folder back."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from holdfast.bootstrap.settings import find_connection
from holdfast.bootstrap.wiring import connect, open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.file import volume_options, wanted_volumes
from holdfast.cli.output import counted
from holdfast.cli.point_choice import choose_point
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.errors import UsageError
from holdfast.core.file_reference import FileReference, parse_file
from holdfast.core.progress import Progress
from holdfast.core.sizes import size_text
from holdfast.jobs.extract import ExtractResult, extract
from holdfast.jobs.files import doubts, looked_into
from holdfast.mover.archives import TarArchive, ZipArchive
from holdfast.mover.guest_directory import GuestDirectory
from holdfast.mover.unpacking import Destination, Unpacked

_EXAMPLES = """
holdfast file get web01@latest:/etc/nginx --output nginx
holdfast file get web01@latest-3:/home/anna --output anna.tar --archive tar
holdfast file get web01@latest:/etc/nginx --into web01:/root/before --connect qemu:///system
"""


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT:/PATH")
@click.option("--output", type=click.Path(path_type=Path), metavar="PATH", help="The new file or directory.")
@click.option("--into", metavar="MACHINE:/DIR", help="Put it into that directory of a running machine instead.")
@click.option("--connect", "uri", metavar="URI", help="The hypervisor of that machine.  [HOLDFAST_CONNECT]")
@click.option("--archive", type=click.Choice(["tar", "zip"]), help="Put it into one archive instead.")
@volume_options
@click.pass_context
def get(context: click.Context, /, reference: str, **said: Any) -> int:
    """Bring a file or a folder back.

    Owners, modes, times and extended attributes are kept; owners only where root does it. PATH must not exist, and is
    called PATH.partial until all is there. Into a running machine files go through its guest agent, and never onto what
    exists there.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted_file, wanted = parse_file(reference), wanted_volumes(common, said)
        if (said["output"] is None) == (said["into"] is None):
            raise UsageError("files go to one place", hint="give --output PATH or --into MACHINE:/DIR")
        with ExitStack() as stack:
            repository = stack.enter_context(open_for_reading(common.repository(), run.warn))
            point = choose_point(repository, wanted_file.point)
            progress = stack.enter_context(run.watch(point.machine))
            inspection = stack.enter_context(looked_into(repository, point, wanted))
            for doubt in doubts(point, inspection):
                run.warn(doubt)
            if said["into"] is None:
                destination = _destination(wanted_file, said["output"], said["archive"])
            else:
                destination = _guest_directory(wanted_file, said, stack, progress)
            result = extract(repository, point, inspection, wanted_file.path, destination, progress)
        run.result(result, _lines(result), warnings=result.warnings)
    return run.exit_status


def _guest_directory(
    wanted: FileReference, said: Mapping[str, Any], stack: ExitStack, progress: Progress
) -> Destination:
    machine, colon, directory = said["into"].partition(":/")
    if not machine or not colon or said["archive"]:
        raise UsageError("--into is MACHINE:/DIR", hint="for instance --into web01:/root; it takes no --archive")
    platform = stack.enter_context(connect(find_connection(said["uri"], os.environ)))
    guest = platform.guest(platform.find(machine))
    on_its_way = Path(stack.enter_context(TemporaryDirectory(prefix="holdfast-"))) / "files.tar"
    return GuestDirectory(guest, f"/{directory}", _top(wanted), on_its_way, progress)


def _destination(wanted: FileReference, output: Path, archive: str | None) -> Destination:
    place, top = os.fsencode(output.absolute()), _top(wanted)
    match archive:
        case "tar":
            return TarArchive(place, top)
        case "zip":
            return ZipArchive(place, top)
        case _:
            return Unpacked(place)


def _top(wanted: FileReference) -> bytes:
    """What the files are called, all together."""
    top = wanted.path.rstrip(b"/").rpartition(b"/")[2]
    if top in {b"", b".", b".."}:
        return os.fsencode(wanted.point.machine or "files").replace(b"/", b"_")
    return top


def _lines(result: ExtractResult) -> list[str]:
    files, folders = counted(result.files, "file"), counted(result.directories, "folder")
    counts = f"{files}, {folders} and {counted(result.links, 'link')}"
    return [
        f"{result.output}: {counts} of {result.path} in point {result.point} of {result.machine}",
        f"  {size_text(result.bytes)}, {result.seconds:.1f} s",
    ]
