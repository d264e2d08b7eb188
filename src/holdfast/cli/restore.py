"""`holdfast restore`: bring disks or machines back."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.settings import find_connection
from holdfast.bootstrap.wiring import connect, open_for_reading, target_file
from holdfast.cli.common import Common, Group
from holdfast.cli.output import size_text
from holdfast.cli.parameters import network_names, storage_directories
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.errors import UsageError
from holdfast.core.point import RestorePoint
from holdfast.core.ports import Platform
from holdfast.core.selection import only_disk, parse_reference, select_disk, select_point
from holdfast.jobs.overwrite import Overwriting, overwrite_machine, preview_overwrite
from holdfast.jobs.recover import NewMachine, recover_disk, recover_machine
from holdfast.jobs.results import OverwriteResult, RestoreResult
from holdfast.repository import Repository

_DISK_EXAMPLES = """
holdfast restore disk web01@latest --disk vda --output /srv/web01-vda.raw
holdfast restore disk web01@2026-11-22T02:00 --disk vda --output web01.qcow2 --format qcow2
"""

_MACHINE_EXAMPLES = """
holdfast restore machine web01@latest --connect qemu:///system --name web01-restored --start
holdfast restore machine web01@latest-1 --connect qemu:///system --name lab --storage /srv/lab --network lan=lab
holdfast restore machine web01@latest --connect qemu:///system --in-place --dry-run
"""


@click.group(cls=Group)
def restore() -> None:
    """Bring disks or machines back."""


@restore.command(cls=StreamCommand, examples=_DISK_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@click.option("--disk", metavar="NAME", help="The disk's name in the point.  [default: its only one]")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="PATH", help="The new file. Must not exist."
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["raw", "qcow2"]),
    help="The new file's format.  [default: qcow2 for a PATH that ends so, else raw]",
)
@click.pass_context
def disk(context: click.Context, reference: str, disk: str | None, output: Path, image_format: str | None) -> int:
    """Write one disk of a restore point to a new file.

    The point is chosen by MACHINE@latest, MACHINE@latest-1, MACHINE@TIME (the newest captured by then, local time
    unless it has a zone), MACHINE@ID or an id alone. Until the file is whole, its name ends in .partial.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = parse_reference(reference)
        with open_for_reading(common.repository(), run.warn) as repository:
            point = select_point(repository.points(), wanted)
            chosen = select_disk(point, disk) if disk else only_disk(point)
            with run.watch(point.machine) as progress:
                target = target_file(output.absolute(), chosen.size_bytes, image_format or _format_of(output))
                result = recover_disk(repository, point, chosen, target, progress=progress)
        run.result(result, _lines(result), warnings=result.warnings)
    return run.exit_status


@restore.command(cls=StreamCommand, examples=_MACHINE_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@click.option("--connect", "uri", metavar="URI", help="The hypervisor to restore to.  [HOLDFAST_CONNECT]")
@click.option("--name", metavar="NEW", help="Make a new machine of this name. Must not exist.")
@click.option("--in-place", is_flag=True, help="Write onto the machine's own disks, only what differs. It must be off.")
@click.option("--dry-run", is_flag=True, help="With --in-place: say what would be written, and write nothing.")
@click.option(
    "--storage",
    metavar="[DISK=]DIR",
    multiple=True,
    help="The directory for the disks, or for one of them. Repeatable.  [default: where the disk was]",
)
@click.option("--network", metavar="OLD=NEW", multiple=True, help="Connect to another network. Repeatable.")
@click.option("--start", is_flag=True, help="Switch it on and wait for its guest agent.")
@click.option(
    "--agent-timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the guest agent.",
)
@click.pass_context
def machine(context: click.Context, /, reference: str, **said: Any) -> int:
    """Make a machine of a restore point, or bring one back.

    The point is chosen as for `restore disk`. A new machine has an identity and network addresses of its own; the one
    it was made from is not touched. If it cannot be finished, nothing of it is left.

    In place, the machine keeps its identity and definition, and what differs is written onto its disks: only what
    changed is compared where its own record of changes can be trusted, else all of them. If that is cut off, its images
    stay aside as *.restoring, so that it neither starts nor is backed up; the same command goes on.
    """
    common = Common.of(context)
    with stream(common) as run:
        wanted = parse_reference(reference)
        _refuse_contradictions(said)
        uri = find_connection(said["uri"], os.environ)
        with open_for_reading(common.repository(), run.warn) as repository, connect(uri) as platform:
            point = select_point(repository.points(), wanted)
            if said["in_place"]:
                _restore_in_place(run, repository, platform, point, said)
            else:
                _restore_beside(run, repository, platform, point, said)
    return run.exit_status


def _refuse_contradictions(said: Mapping[str, Any]) -> None:
    if said["in_place"] == (said["name"] is not None):
        raise UsageError("a machine is restored beside itself or in place", hint="give --name NEW or --in-place")
    if said["dry_run"] and not said["in_place"]:
        raise UsageError("--dry-run is for a restore in place", hint="leave it out: a new machine changes no other")
    if said["in_place"] and (said["storage"] or said["network"]):
        raise UsageError("in place, disks and networks stay what they are", hint="leave out --storage and --network")
    if said["dry_run"] and said["start"]:
        raise UsageError("a dry run starts nothing", hint="leave out --start")


def _restore_beside(
    run: Stream, repository: Repository, platform: Platform, point: RestorePoint, said: Mapping[str, Any]
) -> None:
    new_machine = NewMachine(
        name=said["name"],
        storage=storage_directories(said["storage"]),
        networks=network_names(said["network"]),
        start=said["start"],
        agent_timeout_s=said["agent_timeout"],
    )
    with run.watch(new_machine.name) as progress:
        result = recover_machine(repository, point, platform, new_machine, progress=progress)
    run.result(result, _lines(result), warnings=result.warnings)


def _restore_in_place(
    run: Stream, repository: Repository, platform: Platform, point: RestorePoint, said: Mapping[str, Any]
) -> None:
    wanted = Overwriting.whole(point)
    with run.watch(point.machine) as progress:
        if said["dry_run"]:
            result = preview_overwrite(repository, wanted, platform, progress=progress)
        else:
            timeout_s = said["agent_timeout"] if said["start"] else None
            result = overwrite_machine(repository, wanted, platform, agent_timeout_s=timeout_s, progress=progress)
    run.result(result, _overwrite_lines(result), warnings=result.warnings)


def _format_of(output: Path) -> str:
    return "qcow2" if output.suffix.lower() == ".qcow2" else "raw"


def _lines(result: RestoreResult) -> list[str]:
    lines = [
        f"{result.output}: restored from point {result.point} of {result.machine}",
        f"  read {size_text(result.read_bytes)}, written {size_text(result.written_bytes)}, {result.seconds:.1f} s",
    ]
    if result.restored_id is not None:
        lines += [f"  {disk.name}: {disk.output}" for disk in result.disks]
    return lines + _start_lines(result)


def _overwrite_lines(result: OverwriteResult) -> list[str]:
    if result.dry_run:
        lines = [f"{result.output}: to bring back point {result.point}, this would be written:"]
    else:
        lines = [f"{result.output}: brought back to point {result.point} in {result.seconds:.1f} s"]
    for disk in result.disks:
        how = "what changed was compared" if disk.tracked else "all of it was compared"
        lines.append(
            f"  {disk.name}: {size_text(disk.different_bytes)} of {size_text(disk.size_bytes)}, in {disk.extents} "
            f"extents; {how} ({size_text(disk.compared_bytes)}): {disk.reason}"
        )
    return lines + _start_lines(result)


def _start_lines(result: RestoreResult | OverwriteResult) -> list[str]:
    if result.seconds_to_agent is not None:
        return [f"  guest agent answered {result.seconds_to_agent:.1f} s after the start"]
    return ["  started"] if result.started else []
