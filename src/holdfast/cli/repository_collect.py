"""`holdfast repository collect`: free what no point needs any more."""

from collections.abc import Sequence

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Common
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.sizes import size_text
from holdfast.repository import CollectionPlan, CollectionReport, PackUse, require_trustworthy


@click.command(
    cls=StreamCommand,
    examples="holdfast repository collect --repository /srv/backup\nholdfast repository collect --dry-run --json",
)
@click.option("--dry-run", is_flag=True, help="Show what would go and what would be rewritten; change nothing.")
@click.pass_context
def collect(context: click.Context, *, dry_run: bool) -> int:
    """Free the room of blocks that no point needs.

    Points in the trash still need theirs: `holdfast repository purge` ends that. Backups, restores, copies and other
    collections may run meanwhile, on any computer. Interrupted, it loses nothing, and the next run goes on.
    """
    with (
        stream(Common.of(context)) as run,
        open_repository(run.common.repository(), run.warn) as opened,
        run.watch(opened.storage.url, kind="repository") as progress,
    ):
        collector = opened.collector(progress)
        if dry_run:
            plan = collector.plan()
            run.result(_shape(plan), _plan_lines(plan))
        else:
            require_trustworthy(opened.storage)
            report = collector.run()
            run.result(report, _report_lines(report), warnings=report.warnings)
    return run.exit_status


def _shape(plan: CollectionPlan) -> dict[str, object]:
    return {
        "dry_run": True,
        "freed_bytes": plan.freed_bytes,
        "condemned_packs": len(plan.condemned),
        "rewritten_packs": len(plan.rewritten),
        "gathered_packs": len(plan.gathered),
        "parted_packs": len(plan.parted),
        "rewritten_bytes": plan.rewritten_bytes,
        "deleted_objects": len(plan.condemned) + len(plan.leftovers) + len(plan.index_objects),
        "peak_bytes": plan.rewritten_bytes,
        "locked_packs": len(plan.locked),
        "locked_bytes": sum(use.dead_bytes for use in plan.locked),
    }


def _plan_lines(plan: CollectionPlan) -> list[str]:
    locked = _locked_lines(len(plan.locked), sum(use.dead_bytes for use in plan.locked))
    if plan.nothing_to_do:
        return ["nothing to free", *locked]
    return [
        f"would free about {size_text(plan.freed_bytes)}, needing {size_text(plan.rewritten_bytes)} more meanwhile",
        f"  {len(plan.dead)} packs that nothing needs",
        f"  {len(plan.rewritten)} packs of which {_live_text(plan.rewritten)} are needed, to be rewritten",
        f"  {len(plan.gathered)} small packs of {_live_text(plan.gathered)}, to be gathered into large ones",
        f"  {len(plan.parted)} packs of {_live_text(plan.parted)}, to part what the newest points need from the rest",
        f"  {len(plan.leftovers)} packs that were condemned before and are still there",
        f"  {len(plan.index_objects)} index objects to be replaced",
        *locked,
    ]


def _live_text(uses: Sequence[PackUse]) -> str:
    return size_text(sum(use.live_bytes for use in uses))


def _report_lines(report: CollectionReport) -> list[str]:
    locked = _locked_lines(report.locked_packs, report.locked_bytes)
    if not report.deleted_objects:
        return ["nothing to free", *locked]
    done = f"{report.condemned_packs} packs condemned, {size_text(report.rewritten_bytes)} rewritten"
    return [f"freed {size_text(max(0, report.freed_bytes))}: {done}, {report.deleted_objects} objects deleted", *locked]


def _locked_lines(packs: int, size: int) -> list[str]:
    return [f"  {packs} packs stay with {size_text(size)} of garbage: the store has locked them"] if packs else []
