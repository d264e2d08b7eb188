"""`holdfast repository rebuild`: index and configuration anew, from packs and log."""

from collections.abc import Sequence

import click

from holdfast.bootstrap.wiring import open_for_rebuild
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
    """Make index and configuration anew from packs and log.

    Lists every pack that no index object lists, even if there is no index at all, and then removes index objects that
    are damaged. Puts back the configuration if one of its copies, or both, are lost. Points need no rebuilding: the log
    holds them. Can be interrupted and run again at any time, beside backups too. Ends with 3 if there are packs of
    which nobody can tell what they hold.
    """
    settings = Common.of(context).repository()
    with stream(Common.of(context)) as run:
        with run.watch(settings.storage.url, kind="repository") as progress:
            work = open_for_rebuild(settings, progress)
            plan = work.plan()
            report = None if dry_run else work.carry_out(plan)
        if report is None:
            run.result(plan, _planned(plan))
        else:
            run.result(report, _done(report), warnings=report.unreadable)
    return run.exit_status


def _planned(plan: RebuildPlan) -> Sequence[str]:
    packs = [f"  would list {stored.name}" for stored in plan.packs]
    put = [f"  would put {name}" for name in plan.configuration]
    return [f"{len(packs)} packs to be listed", *put, *packs, *(f"  would remove {name}" for name in plan.damaged)]


def _done(report: RebuildReport) -> Sequence[str]:
    listed = f"{report.packs_listed} packs listed in {report.index_objects_written} new index objects"
    unreadable = [f"  {name}: both of its tables are damaged" for name in report.unreadable]
    put = [f"  {name} put back" for name in report.configuration]
    return [f"{listed}, {report.index_objects_removed} damaged ones removed", *put, *unreadable]
