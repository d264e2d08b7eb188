"""`holdfast mount finalize|resume`: machines that run from backup."""

import os

import click

from holdfast.bootstrap.serving import MachineService
from holdfast.bootstrap.settings import find_run_directory
from holdfast.bootstrap.wiring import connect, open_for_reading
from holdfast.cli.common import Command, Common
from holdfast.cli.confirmation import confirm
from holdfast.cli.output import print_json, printable
from holdfast.cli.point_choice import choose_point
from holdfast.cli.restore_boot import home_lines
from holdfast.cli.restore_options import RATE
from holdfast.cli.stream import StreamCommand, stream
from holdfast.cli.tenants import Found, find_machine, its_repository
from holdfast.core.mount import Tenant
from holdfast.core.progress import Silence
from holdfast.core.selection import parse_reference
from holdfast.jobs.boot import bring_home
from holdfast.jobs.hold import held
from holdfast.repository import Repository

CONNECT = click.option(
    "--connect", "uri", metavar="URI", help="The hypervisor, if it is not served on this host.  [HOLDFAST_CONNECT]"
)


@click.command(cls=StreamCommand, examples="holdfast mount finalize web01-now\nholdfast mount finalize 3f2a --rate 50M")
@click.argument("wanted", metavar="MOUNT|MACHINE")
@CONNECT
@RATE
@click.pass_context
def finalize(context: click.Context, wanted: str, uri: str | None, rate: int | None) -> int:
    """Move a machine that runs from backup home.

    Its disks are moved while it runs. Afterwards it needs nothing of the repository, and its next backup reads what has
    changed since it was booted. Interrupted or failed, the machine goes on as before, and the next call goes on from
    there. A machine that is off is started for it but not run.
    """
    common = Common.of(context)
    with stream(common) as run:
        with find_machine(wanted, uri) as found:
            settings = its_repository(common, found.machine.origin)
            with open_for_reading(settings, run.warn) as repository, run.watch(found.machine.name) as progress:
                service = _service(common, found, repository)
                result = bring_home(repository, found.machine, rate, service.end, progress=progress)
        run.result(result, home_lines(result), warnings=result.warnings)
    return run.exit_status


@click.command(cls=Command, examples="holdfast mount resume web01-now --connect qemu:///system")
@click.argument("wanted", metavar="MACHINE")
@CONNECT
@click.pass_context
def resume(context: click.Context, wanted: str, uri: str | None) -> None:
    """Serve a machine that runs from backup again.

    That is for when its host, or all that served it, went down. If it was paused for want of its disks, it goes on; if
    it is off, start it then as you would any other.
    """
    common = Common.of(context)
    with find_machine(wanted, uri) as found:
        settings = its_repository(common, found.machine.origin)
        with open_for_reading(settings, common.warn) as repository:
            service = _service(common, found, repository)
            with held(repository, service.point, Silence()):
                service.end()
                mount = service.begin(Silence())
    if common.json:
        print_json(mount)
    else:
        click.echo(printable(f"{found.machine.name} is served again, from point {mount.point} of {mount.machine}"))


def discard(tenant: Tenant, *, yes: bool) -> None:
    """Remove a machine that runs from backup, if it still does and that is agreed to. Raises RefusedError."""
    with connect(tenant.connection) as platform:
        machine = next((each for each in platform.all_booted() if each.id == tenant.id), None)
        if machine is not None:
            last = "get back the disks that it had" if machine.former_disks else "be there no more"
            loss = f"it would be destroyed, lose all it has written since it was booted, and {last}"
            confirm(f"remove {machine.name}", loss, yes=yes)
            machine.discard()


def _service(common: Common, found: Found, repository: Repository) -> MachineService:
    """What serves, or is to serve, the machine that was found."""
    return MachineService(
        base=find_run_directory(os.environ),
        settings=its_repository(common, found.machine.origin),
        repository=repository,
        point=choose_point(repository, parse_reference(found.machine.origin.point)),
        tenant=found.tenant,
        socket=found.machine.origin.socket,
        owner=found.platform.runs_machines_as(),
    )
