"""`holdfast repository purge`: empty the trash."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common
from holdfast.cli.confirmation import YES, confirm
from holdfast.cli.output import local_text, print_json, print_table
from holdfast.cli.times import Duration
from holdfast.core.retention import PurgeVerdict
from holdfast.jobs.expire import empty_trash, plan_trash

_EXAMPLES = """
holdfast repository purge --dry-run
holdfast repository purge --older-than 30d --yes
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.option(
    "--older-than",
    type=Duration(),
    default="7d",
    show_default=True,
    metavar="PERIOD",
    help="Only points that have been in the trash for 12h, 7d, 8w.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be purged and change nothing.")
@YES
@click.pass_context
def purge(context: click.Context, older_than: timedelta, *, dry_run: bool, yes: bool) -> None:
    """Delete points in the trash for good.

    Points that are held or locked stay. What only purged points needed is freed by `repository collect`.
    """
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as repository:
        plan = plan_trash(repository, older_than)
        count = sum(not verdict.stays for verdict in plan)
        if not common.json:
            print_table(("POINT", "MACHINE", "CAPTURED", "IN TRASH SINCE", "VERDICT"), [_row(each) for each in plan])
        purged = []
        if count and not dry_run:
            repository.log.signer.require()
            confirm(f"delete {'1 point' if count == 1 else f'{count} points'} for good", yes=yes)
            purged = [point.id for point in empty_trash(repository, plan, older_than)]
    if common.json:
        print_json(_shape(plan, dry_run=dry_run, purged=purged))
    elif not dry_run:
        click.echo(f"\n{len(purged)} purged")


def _row(verdict: PurgeVerdict) -> tuple[str, ...]:
    point, since = verdict.trashed.point, verdict.trashed.since
    return point.id, point.machine, local_text(point.captured_at), local_text(since), verdict.stays or "purge"


def _shape(plan: Sequence[PurgeVerdict], *, dry_run: bool, purged: list[str]) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "purged": purged,
        "points": [
            {
                "point": verdict.trashed.point.id,
                "machine": verdict.trashed.point.machine,
                "machine_id": verdict.trashed.point.machine_id,
                "captured_at": verdict.trashed.point.captured_at,
                "trashed_at": verdict.trashed.since,
                "purge": not verdict.stays,
                "reason": verdict.stays or None,
            }
            for verdict in plan
        ],
    }
