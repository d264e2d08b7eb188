"""`holdfast repository rebuild`: the index anew, from the packs."""

from collections.abc import Sequence

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Common
from holdfast.cli.stream import StreamCommand, stream
from holdfast.repository import RebuildPlan, RebuildReport

_EXAMPLES = """
holdfast repository rebuild --dry-run
holdfast repository rebuild --repository /srv/backup
"""


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_context
def rebuild(context: click.Context, /, *, dry_run: bool) -> int:
    """Make the index anew from the packs.

    Lists every pack that no index object lists, even if there is no index at all, and then removes index objects that
    are damaged. Points need no rebuilding: the log holds them. Can be interrupted and run again at any time, beside
    backups too. Ends with 3 if there are packs of which nobody can tell what they hold.
    """
    common = Common.of(context)
    with stream(common) as run, open_repository(common.repository(), run.warn) as opened:
        with run.watch(opened.storage.url, kind="repository") as progress:
            work = opened.rebuild(progress)
            plan = work.plan()
            report = None if dry_run else work.carry_out(plan)
        if report is None:
            run.result(plan, _planned(plan))
        else:
            run.result(report, _done(report), warnings=report.unreadable)
    return run.exit_status


def _planned(plan: RebuildPlan) -> Sequence[str]:
    packs = [f"  would list {stored.name}" for stored in plan.packs]
    return [f"{len(packs)} packs to be listed", *packs, *(f"  would remove {name}" for name in plan.damaged)]


def _done(report: RebuildReport) -> Sequence[str]:
    listed = f"{report.packs_listed} packs listed in {report.index_objects_written} new index objects"
    unreadable = [f"  {name}: both of its tables are damaged" for name in report.unreadable]
    return [f"{listed}, {report.index_objects_removed} damaged ones removed", *unreadable]
