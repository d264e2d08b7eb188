"""`holdfast restore`: bring disks or machines back."""

import os
from collections.abc import Mapping
from typing import Any

import click

from holdfast.bootstrap.settings import find_connection
from holdfast.bootstrap.wiring import connect, open_for_reading
from holdfast.cli.common import Common, Group
from holdfast.cli.lazy import Stub
from holdfast.cli.parameters import ByteSize, disk_buses, network_names, storage_directories
from holdfast.cli.point_choice import choose_point
from holdfast.cli.restore_options import AGENT_TIMEOUT, NETWORK, RESUME
from holdfast.cli.restored import overwritten_lines, restored_lines
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.errors import UsageError
from holdfast.core.machine import Hardware
from holdfast.core.point import RestorePoint
from holdfast.core.ports import Platform
from holdfast.core.selection import parse_reference
from holdfast.jobs.overwrite import Overwriting, overwrite_machine, preview_overwrite
from holdfast.jobs.recover import NewMachine, recover_machine
from holdfast.repository import Repository

_MACHINE_EXAMPLES = """
holdfast restore machine web01@latest --connect qemu:///system --name web01-restored --start
holdfast restore machine web01@latest-1 --connect qemu:///system --name lab --storage /srv/lab --network lan=lab
holdfast restore machine web01@latest --connect qemu:///system --in-place --dry-run
holdfast restore machine nas@latest --connect qemu:///system --name nas --storage /srv/nas --memory 4GiB --cpus 2
"""

_COMMANDS = [
    Stub("disk", "holdfast.cli.restore_disk:disk", "Write one disk to a new file, or into a machine."),
    Stub("boot", "holdfast.cli.restore_boot:boot", "Run a new machine straight from a restore point."),
]


@click.group(cls=Group, commands=_COMMANDS)
def restore() -> None:
    """Bring disks or machines back."""


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
@NETWORK
@click.option(
    "--bus",
    metavar="[DISK=]BUS",
    multiple=True,
    help="Put the disks, or one of them, on virtio, sata, scsi or ide. Repeatable.  [default: as they were]",
)
@click.option("--memory", type=ByteSize(), metavar="SIZE", help="For a point of disks only: the new machine's memory.")
@click.option(
    "--cpus", type=click.IntRange(min=1), default=1, metavar="N", help="Likewise: its processors.  [default: 1]"
)
@click.option("--firmware", type=click.Choice(["bios", "uefi"]), default="bios", help="Likewise.  [default: bios]")
@click.option("--emulated", is_flag=True, help="Likewise: without KVM.")
@RESUME
@click.option("--start", is_flag=True, help="Switch it on and wait for its guest agent.")
@AGENT_TIMEOUT
@click.pass_context
def machine(context: click.Context, /, reference: str, **said: Any) -> int:
    """Make a machine of a restore point, or bring one back.

    The point is chosen as for `point show`. A new machine has an identity and network addresses of its own; the one
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
            point = choose_point(repository, wanted)
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
    if said["in_place"] and any(said[option] for option in ("storage", "network", "bus", "memory")):
        raise UsageError("in place, a machine stays what it is", hint="leave out --storage, --network, --bus, --memory")
    if said["dry_run"] and said["start"]:
        raise UsageError("a dry run starts nothing", hint="leave out --start")


def _restore_beside(
    run: Stream, repository: Repository, platform: Platform, point: RestorePoint, said: Mapping[str, Any]
) -> None:
    new_machine = NewMachine(
        name=said["name"],
        storage=storage_directories(said["storage"]),
        networks=network_names(said["network"]),
        resumable=said["resume"],
        buses=disk_buses(said["bus"]),
        hardware=_hardware(said),
        start=said["start"],
        agent_timeout_s=said["agent_timeout"],
    )
    with run.watch(new_machine.name) as progress:
        result = recover_machine(repository, point, platform, new_machine, progress=progress)
    run.result(result, restored_lines(result), warnings=result.warnings)


def _hardware(said: Mapping[str, Any]) -> Hardware | None:
    if said["memory"] is None:
        return None
    return Hardware(
        memory_bytes=said["memory"],
        cpus=said["cpus"],
        efi=said["firmware"] == "uefi",
        emulated=said["emulated"],
    )


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
    run.result(result, overwritten_lines(result), warnings=result.warnings)
