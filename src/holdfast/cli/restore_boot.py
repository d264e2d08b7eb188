"""`holdfast restore boot`: run a machine straight from a restore point."""

import os
import uuid
from collections.abc import Mapping
from typing import Any

import click

from holdfast.bootstrap.serving import MachineService
from holdfast.bootstrap.settings import find_connection, find_run_directory
from holdfast.bootstrap.wiring import connect, open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.parameters import network_names, storage_directories
from holdfast.cli.point_choice import choose_point
from holdfast.cli.restore_options import AGENT_TIMEOUT, NETWORK, RATE
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.boot import BootingPlatform
from holdfast.core.errors import NotFoundError, UsageError
from holdfast.core.mount import Tenant
from holdfast.core.point import RestorePoint
from holdfast.core.selection import parse_reference
from holdfast.core.sizes import size_text
from holdfast.jobs.boot import boot_machine, bring_home
from holdfast.jobs.original import find_machine
from holdfast.jobs.recover import NewMachine
from holdfast.jobs.results import BootResult, HomeResult

_EXAMPLES = """
holdfast restore boot web01@latest --connect qemu:///system --name web01-now --storage /srv/vm
holdfast restore boot web01@latest-1 --connect qemu:///system --name look --storage /srv/vm --keep-on-backup
holdfast restore boot web01@latest --connect qemu:///system --in-place
"""


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@click.option("--connect", "uri", metavar="URI", help="The hypervisor to run it.  [HOLDFAST_CONNECT]")
@click.option("--name", metavar="NEW", help="Boot a new machine of this name. Must not exist.")
@click.option("--in-place", is_flag=True, help="Boot the machine itself, which must be off. Its disks are kept aside.")
@click.option(
    "--storage",
    metavar="[DISK=]DIR",
    multiple=True,
    help="The directory where the disks, or one of them, are to be in the end. Repeatable.  [default with --in-place: "
    "beside the disks it has]",
)
@NETWORK
@click.option("--keep-on-backup", is_flag=True, help="Leave the disks where they are until `mount finalize`.")
@RATE
@AGENT_TIMEOUT
@click.pass_context
def boot(context: click.Context, /, reference: str, **said: Any) -> int:
    """Run a machine straight from a restore point.

    It starts at once and reads what it needs from the repository; what it writes is kept in its storage. Then its disks
    are moved home while it runs. A new machine has an identity and network addresses of its own; in place, the machine
    keeps its own, and the disks that it had stay beside the new ones. Interrupted while the disks are moved, it goes
    on: `mount finalize` moves the rest, `mount remove` removes it again, or gives it back the disks that it had.
    """
    _refuse_contradictions(said)
    common = Common.of(context)
    with stream(common) as run:
        wanted = parse_reference(reference)
        uri, settings = find_connection(said["uri"], os.environ), common.repository()
        with open_for_reading(settings, run.warn) as repository, connect(uri) as platform:
            point = choose_point(repository, wanted)
            base = find_run_directory(os.environ)
            identity, name = _itself(platform, point) if said["in_place"] else (str(uuid.uuid4()), said["name"])
            wanted_machine = NewMachine(
                name=name,
                storage=storage_directories(said["storage"]),
                networks=network_names(said["network"]),
                start=True,
                agent_timeout_s=said["agent_timeout"],
            )
            prepare = platform.stand_in if said["in_place"] else platform.boot
            service = MachineService(
                base=base,
                settings=settings,
                repository=repository,
                point=point,
                tenant=Tenant(connection=uri, id=identity, name=name),
                socket=base / f"{identity}.nbd",
                owner=platform.runs_machines_as(),
            )
            with run.watch(name) as progress:
                result = boot_machine(repository, point, prepare, wanted_machine, service, progress=progress)
            until = [f"  on backup until `holdfast mount finalize {name}`"] if said["keep_on_backup"] else []
            run.result(result, [*boot_lines(result), *until], warnings=result.warnings)
            if not said["keep_on_backup"]:
                machine = platform.booted(service.identity)
                if machine is None:
                    raise NotFoundError(f"{name} was removed meanwhile", code="not-on-backup")
                with run.watch(name) as progress:
                    home = bring_home(repository, machine, said["rate"], service.end, progress=progress)
                run.result(home, home_lines(home), warnings=home.warnings)
    return run.exit_status


def _refuse_contradictions(said: Mapping[str, Any]) -> None:
    if said["in_place"] == (said["name"] is not None):
        raise UsageError("a machine is booted beside itself or in place", hint="give --name NEW or --in-place")
    if said["in_place"] and said["network"]:
        raise UsageError("in place, a machine keeps its networks", hint="leave out --network")
    if not said["in_place"] and not said["storage"]:
        raise UsageError("where are the new machine's disks to be?", hint="give --storage DIR")


def _itself(platform: BootingPlatform, point: RestorePoint) -> tuple[str, str]:
    """Identity and name of the point's own machine. Raises NotFoundError."""
    identity = find_machine(platform, point.machine_id, point)
    return identity, next(each.name for each in platform.machines() if each.id == identity)


def boot_lines(result: BootResult) -> list[str]:
    """For people."""
    lines = [
        f"{result.output}: runs from point {result.point} of {result.machine}, started after {result.seconds:.1f} s",
        *(f"  {disk.name}: {disk.output}" for disk in result.disks),
    ]
    if result.seconds_to_agent is not None:
        lines.append(f"  guest agent answered {result.seconds_to_agent:.1f} s after the start")
    return lines


def home_lines(result: HomeResult) -> list[str]:
    """For people."""
    written = size_text(result.written_bytes)
    return [
        f"{result.machine}: its disks are home, {written} in {result.seconds:.1f} s; it needs the repository no more",
        *(f"  the disk that it had is left: {place}" for place in result.former_disks),
        *([f"  the firmware variables that it had are left: {result.former_nvram}"] if result.former_nvram else []),
    ]
