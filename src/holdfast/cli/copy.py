"""`holdfast copy`: points of one repository into another."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from holdfast.bootstrap.settings import TARGET_SECRET, RepositorySettings, read_second_settings
from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.output import local_text, print_json, print_table
from holdfast.cli.shapes import point_shape
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.point import RestorePoint
from holdfast.core.selection import PointReference, in_order, parse_reference
from holdfast.core.sizes import size_text
from holdfast.jobs.copy import CopyPlan, PlannedPoint, choose_points, copy_planned, plan_copy
from holdfast.jobs.hold import all_held
from holdfast.jobs.results import CopyResult
from holdfast.mover import Care
from holdfast.repository import Repository

_RUN_EXAMPLES = """
holdfast copy run /srv/backup /mnt/offsite
holdfast copy run /srv/backup /mnt/offsite --machine web01 --dry-run
holdfast copy run /srv/backup /mnt/offsite --point web01@latest
"""

_METHODS = {
    "taken-over": "records are sealed anew as they are",
    "cut-anew": "disks are decoded, cut and named with the target's keys",
}


@click.group(cls=Group)
def copy() -> None:
    """Copy restore points into another repository."""


def _of_both(command: Any) -> Any:
    """The arguments and options of every command here."""
    for decorate in (
        click.option("--point", "references", metavar="POINT", multiple=True, help="Only this point. Repeatable."),
        click.option("--machine", "machines", metavar="MACHINE", multiple=True, help="Only its points. Repeatable."),
        click.argument("target_url", metavar="TO_URL"),
        click.argument("source_url", metavar="FROM_URL"),
    ):
        command = decorate(command)
    return command


@copy.command("run", cls=StreamCommand, examples=_RUN_EXAMPLES)
@_of_both
@click.option(
    "--verify-share",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="How much of what is copied is decoded, and read back from the target, before a point counts.",
)
@click.option("--heal", is_flag=True, help="Trust nothing in the target that has not been read: send what is damaged.")
@click.option("--dry-run", is_flag=True, help="Tell what would be copied, and copy nothing.")
@click.pass_context
def copy_run(context: click.Context, /, source_url: str, target_url: str, **said: Any) -> int:
    """Copy the points that TO_URL lacks.

    They go oldest first, and only what is missing there is sent. A copied point keeps its id, its times and its marks.
    Where both repositories share their naming keys, records are sealed anew as they are; otherwise disks are decoded,
    and cut and named with the target's keys. A point that was deleted in TO_URL is not brought back. Whatever
    interrupts the copy, run it again: it sends the rest.

    The target's passphrase is taken from HOLDFAST_TARGET_PASSPHRASE, HOLDFAST_TARGET_PASSPHRASE_FILE or
    HOLDFAST_TARGET_PASSPHRASE_COMMAND; if none is set, it is the source's.
    """
    common = Common.of(context)
    with stream(common) as run:
        references = [parse_reference(text) for text in said["references"]]
        mine, theirs = _settings(common, source_url, target_url)
        with open_repository(mine, run.warn) as source, open_repository(theirs, run.warn) as target:
            wanted = _wanted(source, said["machines"], references)
            plan = plan_copy(source, target, wanted)
            if said["dry_run"]:
                for planned in plan.points:
                    run.result(_planned_shape(planned, plan), [_planned_line(planned)])
            else:
                _copy_all(run, source, target, plan, Care(verify_share=said["verify_share"] / 100, heal=said["heal"]))
        if not common.json:
            click.echo(_summary(plan))
    return run.exit_status


@copy.command("status", cls=Command, examples="holdfast copy status /srv/backup /mnt/offsite")
@_of_both
@click.pass_context
def copy_status(context: click.Context, /, source_url: str, target_url: str, **said: Any) -> None:
    """Tell which points are in both repositories.

    Each point of FROM_URL is there in TO_URL, missing, or was deleted there, and is then not brought back.
    """
    common = Common.of(context)
    references = [parse_reference(text) for text in said["references"]]
    mine, theirs = _settings(common, source_url, target_url)
    with open_repository(mine, common.warn) as source, open_repository(theirs, common.warn) as target:
        plan = plan_copy(source, target, _wanted(source, said["machines"], references))
        states = {point.id: "there" for point in plan.there}
        states |= {point.id: "deleted" for point in plan.deleted}
        points = in_order([*plan.there, *plan.deleted, *(planned.point for planned in plan.points)])
        rows = [(point, states.get(point.id, "missing")) for point in points]
        if common.json:
            standings, now = source.log.state.standings, source.log.clock()
            shapes = [point_shape(standings[point.id], source.id, now) for point, _ in rows]
            print_json([{**shape, "copy": state} for shape, (_, state) in zip(shapes, rows, strict=True)])
        else:
            headings = ("POINT", "MACHINE", "CAPTURED", "COPY")
            cells = [(point.id, point.machine, local_text(point.captured_at), state) for point, state in rows]
            print_table(headings, cells)


def _wanted(source: Repository, machines: Sequence[str], references: Sequence[PointReference]) -> list[RestorePoint]:
    """The points that are meant; `points` reads the state that says which of them were verified."""
    points = source.points()
    return choose_points(points, machines, references, proven=source.log.state.proven)


def _settings(common: Common, source_url: str, target_url: str) -> tuple[RepositorySettings, RepositorySettings]:
    source = common.naming(source_url).repository()
    return source, read_second_settings(source, common.naming(target_url).options, os.environ, TARGET_SECRET)


def _copy_all(run: Stream, source: Repository, target: Repository, plan: CopyPlan, care: Care) -> None:
    """One point after the other, all held that are still there; one that fails does not keep the next from its turn."""
    with ExitStack() as held:
        with run.watch(source.storage.url, kind="repository") as progress:
            held.enter_context(all_held(source, [planned.point for planned in plan.points], progress))
        for planned in plan.points:
            point = planned.point
            with run.attempt(point.machine, machine_id=point.machine_id, point=point.id):
                with run.watch(point.machine) as progress:
                    result = copy_planned(source, target, planned, method=plan.method, care=care, progress=progress)
                if result is not None:
                    run.result(result, _lines(result), warnings=result.warnings)


def _planned_shape(planned: PlannedPoint, plan: CopyPlan) -> dict[str, Any]:
    point = planned.point
    return {
        "point": point.id,
        "machine": point.machine,
        "machine_id": point.machine_id,
        "captured_at": point.captured_at,
        "method": plan.method,
        "built_on": planned.built_on,
    }


def _planned_line(planned: PlannedPoint) -> str:
    compared = f"compared with {planned.built_on}" if planned.built_on else "all of it is looked at"
    return f"{planned.point.machine}: point {planned.point.id}, {local_text(planned.point.captured_at)}: {compared}"


def _lines(result: CopyResult) -> list[str]:
    moved = f"new {size_text(result.sent_bytes)}, stored {size_text(result.stored_bytes)}"
    return [f"{result.machine}: point {result.point} copied, {moved}, {result.seconds:.1f} s"]


def _summary(plan: CopyPlan) -> str:
    counts = [f"{len(plan.points)} to copy", f"{len(plan.there)} there already"]
    if plan.deleted:
        counts.append(f"{len(plan.deleted)} deleted there and not brought back")
    return f"points: {', '.join(counts)}; {_METHODS[plan.method]}"
