"""`holdfast point`: what can be restored."""

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.output import local_text, print_facts, print_json, print_table, size_text
from holdfast.cli.shapes import point_shape
from holdfast.core.point import RestorePoint
from holdfast.core.selection import in_order, parse_reference, points_of, select_point


@click.group(cls=Group)
def point() -> None:
    """See restore points."""


@point.command("list", cls=Command, examples="holdfast point list\nholdfast point list web01 --json")
@click.argument("machine", required=False)
@click.pass_context
def list_points(context: click.Context, machine: str | None) -> None:
    """List restore points, oldest capture first.

    Of one MACHINE, given by its id or a name it has borne, or of all.
    """
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        points = in_order(repository.points()) if machine is None else points_of(repository.points(), machine)
    if common.json:
        print_json([point_shape(each, repository.id) for each in points])
    else:
        headings = ("POINT", "MACHINE", "CAPTURED", "CONSISTENCY", "CAPTURE", "DISKS", "SIZE", "STATE")
        print_table(headings, [_row(each) for each in points])


@point.command("show", cls=Command, examples="holdfast point show web01@latest\nholdfast point show 3f2a9c --json")
@click.argument("reference", metavar="POINT")
@click.pass_context
def show_point(context: click.Context, reference: str) -> None:
    """Show one restore point and its disks.

    POINT is MACHINE@latest, MACHINE@latest-1, MACHINE@TIME (the newest captured by then, local time unless it has a
    zone), MACHINE@ID or an id alone.
    """
    common = Common.of(context)
    wanted = parse_reference(reference)
    with open_repository(common.repository(), common.warn) as repository:
        chosen = select_point(repository.points(), wanted)
    if common.json:
        print_json(point_shape(chosen, repository.id))
        return
    print_facts(_facts(chosen))
    click.echo()
    headings = ("DISK", "SIZE", "FORMAT", "CAPTURE", "REASON")
    rows = [(disk.name, size_text(disk.size_bytes), disk.format, disk.capture, disk.reason) for disk in chosen.disks]
    print_table(headings, rows)


def _row(point: RestorePoint) -> tuple[str, ...]:
    return (
        point.id,
        point.machine,
        local_text(point.captured_at),
        point.consistency,
        point.capture,
        ",".join(disk.name for disk in point.disks),
        size_text(sum(disk.size_bytes for disk in point.disks)),
        point.state,
    )


def _facts(point: RestorePoint) -> list[tuple[str, str]]:
    return [
        ("Point", point.id),
        ("Machine", f"{point.machine} ({point.machine_id})"),
        ("Captured", local_text(point.captured_at)),
        ("Committed", local_text(point.created_at)),
        ("Consistency", point.consistency),
        ("Parent", point.parent or "none"),
        ("Definition", "yes" if point.definition.xml else "no, disks only"),
        ("Read back before commit", f"{point.verified_share:.0%} of what was written"),
        ("State", point.state),
    ]
