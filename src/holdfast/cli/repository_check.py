"""`holdfast repository check`: prove what is stored."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from holdfast.bootstrap.settings import TARGET_SECRET, read_second_settings
from holdfast.bootstrap.wiring import check_journal, check_without_key, open_repository
from holdfast.cli.common import Common
from holdfast.cli.output import table_lines
from holdfast.cli.stream import Stream, StreamCommand, stream
from holdfast.core.errors import DamagedError, DeniedError
from holdfast.core.sizes import size_text
from holdfast.repository import CheckReport, CheckScope, Damage

if TYPE_CHECKING:
    from holdfast.jobs.heal import HealReport

_EXAMPLES = """
holdfast repository check --repository /srv/backup
holdfast repository check --level sample --share 10
holdfast repository check --level full --resume
holdfast repository check --mark
holdfast repository check --heal-from /mnt/offsite
holdfast repository check --level keyless --repository /srv/backup
"""
_HEADINGS = ("OBJECT", "DAMAGE", "MACHINE", "POINT", "DISK", "OFFSET", "LENGTH")


@click.command(cls=StreamCommand, examples=_EXAMPLES)
@click.option(
    "--level",
    type=click.Choice(["structure", "keyless", "sample", "full"]),
    default="full",
    help="How much to prove: that everything has its place; every byte by its name, without the key; a share of what "
    "is stored; all of it.  [default: all of it]",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="How much `sample` reads; what was not proved for longest comes first.",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted check of the same level stopped.")
@click.option(
    "--mark",
    is_flag=True,
    help="Let the repository remember which records are damaged: the next backups store anew what disks still hold.",
)
@click.option(
    "--heal-from",
    "source_url",
    metavar="URL",
    help="Bring back what is lost from another repository that holds the same points, for instance a copy. Marks too.",
)
@click.pass_context
def check(context: click.Context, /, source_url: str | None, **said: Any) -> int:
    """Prove that what is stored is as it was written.

    Names each damaged object with the machines, points, disks and bytes it is part of. Level `keyless` needs no
    passphrase, and then cannot know these. Ends with 1 if there is any damage, also if it was marked before and is not
    read now; with 3 if all of it was healed.

    The passphrase of the repository to heal from is taken from HOLDFAST_TARGET_PASSPHRASE and its like, as for `copy`;
    if none is set, it is the same.
    """
    scope = CheckScope(level=said["level"], share=said["share"] / 100, resume=said["resume"])
    needs_key = scope.level != "keyless" or said["mark"] or source_url is not None
    with stream(Common.of(context)) as run:
        if not needs_key and not run.common.gives_passphrase:
            _check_without_key(run, scope)
            return run.exit_status
        try:
            _check(run, scope, mark=said["mark"], source_url=source_url)
        except DeniedError as error:
            if needs_key or error.code != "wrong-passphrase":
                raise
            run.warn(f"{error.message}: it is checked without it")
            _check_without_key(run, scope)
    return run.exit_status


def _check_without_key(run: Stream, scope: CheckScope) -> None:
    settings = run.common.storage()
    with run.watch(settings.url, kind="repository") as progress:
        report = check_without_key(settings, scope, progress)
    _tell(run, report)


def _check(run: Stream, scope: CheckScope, *, mark: bool, source_url: str | None) -> None:
    """By the keys; what is found is marked and healed if that is wanted. Raises DamagedError if damage is left."""
    from holdfast.jobs.heal import heal_from  # noqa: PLC0415 - a check without the key needs no movers

    settings = run.common.repository()
    with open_repository(settings, run.warn) as opened:
        with run.watch(opened.storage.url, kind="repository") as progress:
            report = opened.check(progress, scope, check_journal(settings.storage, opened.id, scope))
            if mark:
                opened.mark(report.marks)
        if source_url is None or not report.marks.damaged.keys() | opened.state().damaged.keys():
            _tell(run, report)
            return
        run.result(report, _lines(report))
        theirs = read_second_settings(settings, run.common.naming(source_url).options, os.environ, TARGET_SECRET)
        with open_repository(theirs, run.warn) as source, run.watch(opened.storage.url, kind="repository") as progress:
            healed = heal_from(source, opened, report, progress)
        warnings = [f"points were healed from {source_url}"] if healed.healed else []
        run.result(healed, _healed_lines(healed), warnings=warnings)
        if left := [each for each in report.damage if each.point is None or each.point in healed.unhealed]:
            raise _damaged(report, left)


def _tell(run: Stream, report: CheckReport) -> None:
    run.result(report, _lines(report))
    if not report.ok:
        raise _damaged(report, report.damage)


def _healed_lines(report: "HealReport") -> list[str]:
    done = f"{len(report.healed)} points healed, {size_text(report.sent_bytes)} brought"
    return [done, *(f"  point {point} stays damaged" for point in report.unhealed)]


def _damaged(report: CheckReport, damage: Sequence[Damage]) -> DamagedError:
    findings = "1 finding" if len(damage) == 1 else f"{len(damage)} findings"
    return DamagedError(f"the repository is damaged: {findings}", hint="; ".join(_remedies(report, damage)))


def _remedies(report: CheckReport, damage: Sequence[Damage]) -> Iterator[str]:
    """What helps against damage of these kinds."""
    if report.level == "keyless":
        yield "a check with the passphrase says which points this hurts"
        return
    folders = {each.object.partition("/")[0] for each in damage if each.kind != "unlisted"}
    if folders & {"config", "config.2", "index"} or any(each.kind == "unlisted" for each in damage):
        yield "`holdfast repository rebuild` makes index and configuration anew"
    if folders & {"log", "keys"}:
        yield "bring what is damaged of the log and the keys back from a copy of the repository"
    if any(each.point is not None for each in damage):
        yield "points that are not named restore exactly"
        yield "with --mark the next backups store anew what the disks still hold, for the older points too"
        yield "--heal-from brings it from a copy"
    elif "packs" in folders:
        yield "no point needs what is damaged: `holdfast repository collect` takes it away"


def _lines(report: CheckReport) -> list[str]:
    read = f"{report.objects} objects, {size_text(report.read_bytes)} read"
    if report.packs_resumed:
        read += f", {report.packs_resumed} packs proved before the interruption"
    if report.ok:
        return [f"whole: {read}", f"  proved: {report.proves}"]
    rows = [
        tuple(
            "-" if field is None else str(field)
            for field in (each.object, each.kind, each.machine, each.point, each.disk, each.offset, each.length)
        )
        for each in report.damage
    ]
    return [f"damaged: {read}", *table_lines(_HEADINGS, rows)]
