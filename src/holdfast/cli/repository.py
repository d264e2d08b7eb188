"""`holdfast repository`: where restore points live."""

import click

from holdfast.bootstrap.wiring import create_repository, open_repository
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.output import print_facts, print_json, size_text, table_lines
from holdfast.cli.stream import StreamCommand, stream
from holdfast.core.errors import DamagedError
from holdfast.repository import CheckReport, RepositoryInfo


@click.group(cls=Group)
def repository() -> None:
    """Make, describe and check repositories."""


@repository.command(
    cls=Command,
    examples="holdfast repository create --repository /srv/backup\n"
    "holdfast repository create --repository /srv/backup --passphrase-file ~/.holdfast-passphrase --json",
)
@click.pass_context
def create(context: click.Context) -> None:
    """Make a new, empty repository.

    Its directory must be empty or not exist yet; the directory above it must exist. Without the passphrase nothing in
    it can ever be read again: keep it where the repository is not.
    """
    common = Common.of(context)
    _show(create_repository(common.new_repository()).info(), as_json=common.json)


@repository.command(cls=Command, examples="holdfast repository info --repository /srv/backup")
@click.pass_context
def info(context: click.Context) -> None:
    """Tell what the repository holds and how much room that takes."""
    common = Common.of(context)
    with open_repository(common.repository(), common.warn) as opened:
        _show(opened.info(), as_json=common.json)


@repository.command(cls=StreamCommand, examples="holdfast repository check --repository /srv/backup")
@click.pass_context
def check(context: click.Context) -> int:
    """Prove that everything stored is as it was written.

    Reads all of it, and names each damaged object with the machines, points and disks it is part of. Ends with 1 if
    there is any damage.
    """
    common = Common.of(context)
    with stream(common) as run:
        with open_repository(common.repository(), run.warn) as opened:
            with run.watch(opened.storage.url, kind="repository") as progress:
                report = opened.check(progress)
            run.result(report, _report_lines(report))
        if not report.ok:
            findings = "1 finding" if len(report.damage) == 1 else f"{len(report.damage)} findings"
            raise DamagedError(
                f"the repository is damaged: {findings}",
                hint="points that are not named restore exactly; back up the machines again with --heal: "
                "what they still hold is stored anew, for the older points too",
            )
    return run.exit_status


def _show(described: RepositoryInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(described)
        return
    print_facts(
        [
            ("Repository", described.url),
            ("Id", described.id),
            ("Format", f"{described.format} ({', '.join(described.features) or 'no features'})"),
            ("Machines", str(described.machines)),
            ("Points", str(described.points)),
            ("Protected", size_text(described.plain_bytes)),
            ("Stored", f"{size_text(described.stored_bytes)} in {described.packs} packs"),
            ("Log position", str(described.log_position)),
        ]
    )


def _report_lines(report: CheckReport) -> list[str]:
    read = f"{report.objects} objects, {size_text(report.read_bytes)} read"
    if report.ok:
        return [f"whole: {read}"]
    headings = ("OBJECT", "DAMAGE", "MACHINE", "POINT", "DISK", "OFFSET", "LENGTH")
    rows = [
        tuple(
            "-" if field is None else str(field)
            for field in (each.object, each.kind, each.machine, each.point, each.disk, each.offset, each.length)
        )
        for each in report.damage
    ]
    return [f"damaged: {read}", *table_lines(headings, rows)]
