"""`holdfast machine`: what a hypervisor has."""

import os

import click

from holdfast.bootstrap.settings import find_connection
from holdfast.bootstrap.wiring import connect as connect_to
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.lazy import Stub
from holdfast.cli.output import print_json, print_table
from holdfast.core.machine import MachineInfo
from holdfast.core.sizes import size_text

_COMMANDS = [Stub("export", "holdfast.cli.machine_export:export", "Write a point in the format of another hypervisor.")]


@click.group(cls=Group, commands=_COMMANDS)
def machine() -> None:
    """See the machines of a hypervisor, take them elsewhere."""


@machine.command("list", cls=Command, examples="holdfast machine list --connect qemu:///system")
@click.option("--connect", metavar="URI", help="The hypervisor.  [HOLDFAST_CONNECT]")
@click.pass_context
def list_machines(context: click.Context, connect: str | None) -> None:
    """List machines, their disks, and whether changes are tracked.

    TRACKING: `ok` - a backup marks the disk, and the next one reads what has changed since; `none` - the disk can bear
    no mark (raw, version 2, not on this host, on backup); `broken` - the newest mark of a repository is there no more,
    or void since the machine was killed: the next backup to it reads everything.
    """
    with connect_to(find_connection(connect, os.environ)) as platform:
        machines = platform.machines()
    if Common.of(context).json:
        print_json(machines)
    else:
        headings = ("NAME", "STATE", "AGENT", "DISKS", "SIZE", "TRACKING", "ID")
        print_table(headings, [_row(each) for each in machines])


def _row(machine: MachineInfo) -> tuple[str, ...]:
    tracking = {disk.name: disk.tracking for disk in machine.disks}
    alike = set(tracking.values())
    return (
        machine.name,
        machine.state,
        "yes" if machine.agent else "no",
        ",".join(tracking),
        size_text(sum(disk.size_bytes for disk in machine.disks)),
        alike.pop() if len(alike) == 1 else ",".join(f"{name}:{state}" for name, state in tracking.items()),
        machine.id,
    )
