"""`holdfast restore disk`: one disk into a file, or into a machine that exists."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.settings import find_connection
from holdfast.bootstrap.wiring import connect, open_for_reading, resumable_file, target_file
from holdfast.cli.common import Common
from holdfast.cli.point_choice import choose_point
from holdfast.cli.restore_options import RESUME
from holdfast.cli.restored import overwritten_lines, restored_lines
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.errors import UsageError
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.ports import DiskPlan, Platform
from holdfast.core.selection import only_disk, parse_reference, select_disk
from holdfast.jobs.overwrite import Overwriting, overwrite_machine, preview_overwrite
from holdfast.jobs.recover import add_disk, recover_disk
from holdfast.repository import Repository

_EXAMPLES = """
holdfast restore disk web01@latest --disk vda --output /srv/web01-vda.raw
holdfast restore disk web01@2026-11-22T02:00 --disk vda --output web01.qcow2 --format qcow2
holdfast restore disk db01@latest --disk vdb --into db01 --connect qemu:///system
holdfast restore disk db01@latest --disk vdb --into db01 --replace vdb --dry-run
"""


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@click.option("--disk", metavar="NAME", help="The disk's name in the point.  [default: its only one]")
@click.option("--output", type=click.Path(path_type=Path), metavar="PATH", help="A new file. Must not exist.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["raw", "qcow2"]),
    help="The new file's format.  [default: qcow2 for a PATH that ends so, else raw]",
)
@RESUME
@click.option("--into", metavar="MACHINE", help="Attach it to this machine as a further disk, running or off.")
@click.option("--connect", "uri", metavar="URI", help="The hypervisor of that machine.  [HOLDFAST_CONNECT]")
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --into: the directory for it.  [default: where the machine's first disk is]",
)
@click.option("--replace", metavar="NAME", help="With --into: write what differs onto this disk of it. It must be off.")
@click.option("--dry-run", is_flag=True, help="With --replace: say what would be written, and write nothing.")
@click.pass_context
def disk(context: click.Context, /, reference: str, **said: Any) -> int:
    """Write one disk to a new file, or into a machine.

    The point is chosen by MACHINE@latest, MACHINE@latest-1, MACHINE@latest-verified, MACHINE@TIME (the newest
    captured by then, local time unless it has a zone), MACHINE@ID or an id alone. Until a file is whole, its name
    ends in .partial.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = parse_reference(reference)
        _refuse_contradictions(said)
        with open_for_reading(common.repository(), run.warn) as repository:
            point = choose_point(repository, wanted)
            chosen = select_disk(point, said["disk"]) if said["disk"] else only_disk(point)
            if said["into"] is None:
                _restore_to_file(run, repository, point, chosen, said)
                return run.exit_status
            with connect(find_connection(said["uri"], os.environ)) as platform:
                restore = _restore_beside if said["replace"] is None else _restore_onto
                restore(run, repository, platform, point, chosen, said)
    return run.exit_status


def _refuse_contradictions(said: Mapping[str, Any]) -> None:
    if (said["output"] is None) == (said["into"] is None):
        raise UsageError("a disk goes into a file or into a machine", hint="give --output PATH or --into MACHINE")
    if said["into"] is None and (said["storage"] or said["replace"]):
        raise UsageError("--storage and --replace are for a disk of a machine", hint="add --into MACHINE")
    if said["into"] is not None and (said["resume"] or said["image_format"]):
        raise UsageError("--resume and --format are for a file", hint="leave them out, or give --output PATH")
    if said["dry_run"] and said["replace"] is None:
        raise UsageError("--dry-run is for a disk that is overwritten", hint="add --into MACHINE --replace NAME")
    if said["storage"] and said["replace"]:
        raise UsageError("a disk that is overwritten stays where it is", hint="leave out --storage")


def _restore_to_file(
    run: Stream, repository: Repository, point: RestorePoint, disk: PointDisk, said: Mapping[str, Any]
) -> None:
    output: Path = said["output"].absolute()
    make = resumable_file if said["resume"] else target_file
    with run.watch(point.machine) as progress:
        target = make(output, disk.size_bytes, said["image_format"] or _format_of(output))
        result = recover_disk(repository, point, disk, target, progress=progress)
    run.result(result, restored_lines(result), warnings=result.warnings)


def _restore_beside(
    run: Stream,
    repository: Repository,
    platform: Platform,
    point: RestorePoint,
    disk: PointDisk,
    said: Mapping[str, Any],
) -> None:
    prepared = platform.add_disk(platform.find(said["into"]), DiskPlan.of(disk), said["storage"])
    with run.watch(said["into"]) as progress:
        result = add_disk(repository, point, disk, prepared, progress=progress)
    run.result(result, restored_lines(result), warnings=result.warnings)


def _restore_onto(
    run: Stream,
    repository: Repository,
    platform: Platform,
    point: RestorePoint,
    disk: PointDisk,
    said: Mapping[str, Any],
) -> None:
    wanted = Overwriting.one(point, disk, platform.find(said["into"]), said["replace"])
    with run.watch(said["into"]) as progress:
        if said["dry_run"]:
            result = preview_overwrite(repository, wanted, platform, progress=progress)
        else:
            result = overwrite_machine(repository, wanted, platform, agent_timeout_s=None, progress=progress)
    run.result(result, overwritten_lines(result), warnings=result.warnings)


def _format_of(output: Path) -> str:
    return "qcow2" if output.suffix.lower() == ".qcow2" else "raw"
