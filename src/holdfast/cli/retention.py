"""`holdfast retention`: which points to keep."""

from datetime import timedelta
from typing import Any

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.confirmation import YES, confirm
from holdfast.cli.output import local_text, print_json, print_table
from holdfast.cli.times import Duration
from holdfast.core.errors import UsageError
from holdfast.core.retention import RetentionPlan, Rule, Verdict
from holdfast.core.selection import points_of
from holdfast.jobs.expire import expire, plan_expiry
from holdfast.repository import Repository

_EXAMPLES = """
holdfast retention apply --daily 7 --weekly 4 --monthly 12 --dry-run
holdfast retention apply --last 3 --daily 14 --minimum-age 7d --yes
holdfast retention apply --machine web01 --machine db01 --daily 30 --yearly 3
"""
_COUNT = click.IntRange(min=0)


@click.group(cls=Group)
def retention() -> None:
    """Keep restore points by rules."""


@retention.command(cls=Command, examples=_EXAMPLES)
@click.option("--last", type=_COUNT, default=0, metavar="N", help="Keep the N newest points.")
@click.option("--hourly", type=_COUNT, default=0, metavar="N", help="Keep the newest of each of the last N hours.")
@click.option("--daily", type=_COUNT, default=0, metavar="N", help="Keep the newest of each of the last N days.")
@click.option("--weekly", type=_COUNT, default=0, metavar="N", help="The same for ISO weeks, from Monday.")
@click.option("--monthly", type=_COUNT, default=0, metavar="N", help="The same for months.")
@click.option("--yearly", type=_COUNT, default=0, metavar="N", help="The same for years.")
@click.option("--minimum-age", type=Duration(), metavar="PERIOD", help="Keep what was captured less than 12h, 7d ago.")
@click.option(
    "--at-least",
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Keep the N newest of each machine whatever else is said; 0 lets a machine end without points.",
)
@click.option("--machine", "machines", multiple=True, metavar="NAME", help="Only this machine's points. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@YES
@click.pass_context
def apply(context: click.Context, /, **said: Any) -> None:
    """Move the points that no rule keeps to the trash.

    Each machine is judged by itself. Only hours, days, weeks, months and years that have a point count; they are those
    of the local calendar, in the zone of TZ. A point stays if any rule keeps it. Points that are pinned, held or locked
    always stay.
    """
    common = Common.of(context)
    rule = _rule(said)
    with open_repository(common.repository(), common.warn) as repository:
        plan = plan_expiry(repository, rule, _machine_ids(repository, said["machines"]))
        if not common.json:
            print_table(("POINT", "MACHINE", "CAPTURED", "VERDICT", "RULES"), [_row(each) for each in plan.verdicts])
            click.echo(f"\n{len(plan.verdicts) - len(plan.dropped)} to keep, {len(plan.dropped)} to drop")
        dropped = [] if said["dry_run"] else _apply(repository, plan, rule, yes=said["yes"])
    if common.json:
        print_json(_shape(plan, dry_run=said["dry_run"], dropped=[point.id for point in dropped]))
    elif dropped:
        click.echo(f"{len(dropped)} moved to the trash")


def _apply(repository: Repository, plan: RetentionPlan, rule: Rule, *, yes: bool) -> list[Any]:
    """Do what the plan says, once it is agreed to."""
    if not plan.dropped:
        return []
    repository.log.signer.require()
    count = "1 point" if len(plan.dropped) == 1 else f"{len(plan.dropped)} points"
    confirm(f"move {count} to the trash", yes=yes)
    return list(expire(repository, plan, rule))


def _rule(said: dict[str, Any]) -> Rule:
    counts = {name: said[name] for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
    age: timedelta = said["minimum_age"] or timedelta()
    if not any(counts.values()) and not age:
        raise UsageError("no rule says what to keep", hint="give at least one, for instance --daily 7", code="no-rule")
    return Rule(**counts, minimum_age=age, at_least=said["at_least"])


def _machine_ids(repository: Repository, machines: tuple[str, ...]) -> set[str] | None:
    """The ids of the machines that were named; None for all."""
    points = repository.points()
    return {points_of(points, machine)[0].machine_id for machine in machines} if machines else None


def _row(verdict: Verdict) -> tuple[str, ...]:
    point = verdict.point
    rules = ", ".join(verdict.rules) or "no rule keeps it"
    return point.id, point.machine, local_text(point.captured_at), "keep" if verdict.keep else "drop", rules


def _shape(plan: RetentionPlan, *, dry_run: bool, dropped: list[str]) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "keep": len(plan.verdicts) - len(plan.dropped),
        "drop": len(plan.dropped),
        "dropped": dropped,
        "points": [
            {
                "point": verdict.point.id,
                "machine": verdict.point.machine,
                "machine_id": verdict.point.machine_id,
                "captured_at": verdict.point.captured_at,
                "keep": verdict.keep,
                "rules": list(verdict.rules),
            }
            for verdict in plan.verdicts
        ],
    }
