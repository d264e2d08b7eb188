"""`holdfast point`: what can be restored, and what becomes of it."""

from datetime import datetime
from pathlib import Path

import click

from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.lazy import Stub
from holdfast.cli.output import local_text, print_facts, print_json, print_table
from holdfast.cli.place import require_place
from holdfast.cli.point_choice import choose_point
from holdfast.cli.shapes import point_shape
from holdfast.core.errors import NotFoundError
from holdfast.core.selection import in_order, parse_reference, points_of
from holdfast.core.sizes import size_text
from holdfast.repository import Repository, Standing

_COMMANDS = [
    Stub("delete", "holdfast.cli.point_decisions:delete", "Move points to the trash."),
    Stub("undelete", "holdfast.cli.point_decisions:undelete", "Bring points back from the trash."),
    Stub("pin", "holdfast.cli.point_decisions:pin", "Keep points whatever the rules of retention say."),
    Stub("hold", "holdfast.cli.point_decisions:hold", "Let nobody delete points until they are released."),
    Stub("diff", "holdfast.cli.point_diff:diff_points", "Show where the disks of two points differ."),
    Stub("lock", "holdfast.cli.point_decisions:lock", "Let nobody delete points before a time."),
    Stub("verify", "holdfast.cli.point_verify:verify", "Prove that points can be recovered."),
]


@click.group(cls=Group, commands=_COMMANDS)
def point() -> None:
    """See restore points, delete and protect them."""


@point.command(
    "list",
    cls=Command,
    examples="holdfast point list\nholdfast point list web01 --json\nholdfast point list --trash",
)
@click.argument("machine", required=False)
@click.option("--trash", "among", flag_value="trash", help="List what is in the trash.")
@click.option("--all", "among", flag_value="all", help="List what is in the trash too.")
@click.pass_context
def list_points(context: click.Context, machine: str | None, among: str | None) -> None:
    """List restore points, oldest capture first.

    Of one MACHINE, given by its id or a name it has borne, or of all.
    """
    common = Common.of(context)
    with open_for_reading(common.repository(), common.warn) as repository:
        live, trash = repository.points(), repository.trash()
        points = {None: live, "trash": trash, "all": live + trash}[among]
        wanted = in_order(points) if machine is None else points_of(points, machine)
        state, now = repository.log.state, repository.log.clock()
        standings = [state.standings[each.id] for each in wanted]
    if common.json:
        print_json([point_shape(each, repository.id, now) for each in standings])
    else:
        headings = ("POINT", "MACHINE", "CAPTURED", "CONSISTENCY", "CAPTURE", "DISKS", "SIZE", "STATE")
        print_table(headings, [_row(each, now) for each in standings])


@point.command("show", cls=Command, examples="holdfast point show web01@latest\nholdfast point show 3f2a9c --json")
@click.argument("reference", metavar="POINT")
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the screen of its last trial there, as PNG.",
)
@click.pass_context
def show_point(context: click.Context, reference: str, picture: Path | None) -> None:
    """Show one restore point and its disks.

    POINT is MACHINE@latest, MACHINE@latest-1, MACHINE@latest-verified (the newest that was recovered on trial and found
    good), MACHINE@TIME (the newest captured by then, local time unless it has a zone), MACHINE@ID or an id alone.
    """
    common = Common.of(context)
    wanted = parse_reference(reference)
    if picture is not None:
        require_place(picture)
    with open_for_reading(common.repository(), common.warn) as repository:
        chosen = choose_point(repository, wanted)
        standing, now = repository.log.state.standings[chosen.id], repository.log.clock()
        if picture is not None:
            _write_picture(repository, standing, picture)
    if common.json:
        print_json(point_shape(standing, repository.id, now))
        return
    print_facts(_facts(standing, now))
    click.echo()
    headings = ("DISK", "SIZE", "FORMAT", "CAPTURE", "REASON")
    rows = [(disk.name, size_text(disk.size_bytes), disk.format, disk.capture, disk.reason) for disk in chosen.disks]
    print_table(headings, rows)


def _write_picture(repository: Repository, standing: Standing, path: Path) -> None:
    point, trial = standing.point.id, standing.verification
    if trial is None:
        raise NotFoundError(
            f"no picture was kept with point {point}: it was never on trial",
            hint=f"run: holdfast point verify {point} --boot",
            code="no-picture",
        )
    if trial.picture is None:
        raise NotFoundError(
            f"no picture was kept with point {point}: on its last trial the machine had no screen to be kept",
            hint=f"what was looked at instead: holdfast point show {point}",
            code="no-picture",
        )
    path.write_bytes(repository.read_blob(trial.picture))


def _row(standing: Standing, now: datetime) -> tuple[str, ...]:
    point = standing.point
    return (
        point.id,
        point.machine,
        local_text(point.captured_at),
        point.consistency,
        point.capture,
        ",".join(disk.name for disk in point.disks),
        size_text(sum(disk.size_bytes for disk in point.disks)),
        ", ".join(_states(standing, now)),
    )


def _states(standing: Standing, now: datetime) -> list[str]:
    """The point's state, and what protects it."""
    states: list[str] = [standing.seen_at(now).state]
    if standing.pinned:
        states.append("pinned")
    if standing.locked_until is not None and standing.locked_until > now:
        states.append(f"locked until {local_text(standing.locked_until)}")
    if standing.verification is not None:
        states.append("verified" if standing.verification.ok else "failed on trial")
    return states


def _facts(standing: Standing, now: datetime) -> list[tuple[str, str]]:
    point = standing.point
    facts = [
        ("Point", point.id),
        ("Machine", f"{point.machine} ({point.machine_id})"),
        ("Captured", local_text(point.captured_at)),
        ("Committed", local_text(point.created_at)),
        ("Consistency", point.consistency),
        ("Parent", point.parent or "none"),
        ("Definition", "yes" if point.definition.xml else "no, disks only"),
        ("Read back before commit", f"{point.verified_share:.0%} of what was written"),
        ("State", ", ".join(_states(standing, now))),
    ]
    if (trial := standing.verification) is not None:
        facts.append(
            ("Recovered on trial", f"{local_text(trial.at)} by {trial.by}: {'good' if trial.ok else 'failed'}")
        )
        facts += [(f"  {check.name}", check.detail or ("ok" if check.ok else "failed")) for check in trial.checks]
    for hold in standing.holds_at(now).values():
        until = "until released" if hold.until is None else f"until {local_text(hold.until)}"
        facts.append(("Held", f"{until}, by {hold.by}{hold.reason and f': {hold.reason}'}"))
    if standing.trashed_at is not None:
        facts.append(("In the trash", f"since {local_text(standing.trashed_at)}, by {standing.trashed_by}"))
    return facts
