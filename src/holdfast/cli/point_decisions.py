"""`holdfast point delete`, `undelete`, `pin`, `hold`, `lock`: what becomes of single points."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import click

from holdfast.bootstrap.wiring import open_repository
from holdfast.cli.common import Command, Common
from holdfast.cli.confirmation import YES, confirm
from holdfast.cli.output import local_text, print_json, printable
from holdfast.cli.point_choice import choose_in_trash, choose_points
from holdfast.cli.shapes import point_shape
from holdfast.cli.times import Duration, Moment
from holdfast.core.errors import UsageError
from holdfast.core.point import RestorePoint
from holdfast.core.selection import parse_reference
from holdfast.jobs import decide
from holdfast.repository import Repository

_POINTS = click.argument("references", metavar="POINT...", nargs=-1, required=True)


@click.command(
    cls=Command,
    examples="holdfast point delete web01@latest-3 --dry-run\nholdfast point delete web01@latest-3\n"
    "holdfast point delete 3f2a9c 77b01e --yes\nholdfast point delete 3f2a9c --purge",
)
@_POINTS
@click.option("--reason", default="", metavar="TEXT", help="Why, for those who ask later.")
@click.option("--purge", is_flag=True, help="Delete for good, at once, instead of moving to the trash.")
@click.option("--dry-run", is_flag=True, help="Show which points these are, or why they stay, and change nothing.")
@YES
@click.pass_context
def delete(
    context: click.Context, references: Sequence[str], reason: str, *, purge: bool, dry_run: bool, yes: bool
) -> None:
    """Move points to the trash.

    There they keep all they need, and `undelete` brings them back, until `repository purge` deletes them for good, by
    default after 7 days. Points that are pinned, held or locked are refused, and then none is deleted.
    """
    common = Common.of(context)
    wanted = [parse_reference(text) for text in references]
    with open_repository(common.repository(), common.warn) as repository:
        points = choose_points(repository, wanted)
        remain = [point for point in points if point.state != "trash"] if purge else points
        if dry_run:
            decide.require_deletable(repository, _ids(remain))
            decide.require_purgeable(repository, _ids(point for point in points if point not in remain))
            shapes = [_shape(repository, point) for point in points]
            _show(common, points, shapes, "would be purged" if purge else "would go to the trash")
            return
        repository.log.signer.require()
        count = "1 point" if len(points) == 1 else f"{len(points)} points"
        confirm(f"delete {count} for good" if purge else f"move {count} to the trash", yes=yes)
        if remain:
            decide.delete_points(repository, _ids(remain), reason)
        if purge:
            shapes = [{**_shape(repository, point), "state": "purged"} for point in points]
            decide.purge_points(repository, _ids(points))
        else:
            shapes = [_shape(repository, point) for point in points]
    _show(common, points, shapes, "purged" if purge else "in the trash")


@click.command(cls=Command, examples="holdfast point undelete 3f2a9c\nholdfast point undelete web01@latest")
@_POINTS
@click.pass_context
def undelete(context: click.Context, references: Sequence[str]) -> None:
    """Bring points back from the trash.

    MACHINE@latest is the newest of the machine that is there.
    """
    common = Common.of(context)
    wanted = [parse_reference(text) for text in references]
    with open_repository(common.repository(), common.warn) as repository:
        points = [choose_in_trash(repository, reference) for reference in wanted]
        decide.undelete_points(repository, _ids(points))
        _show(common, points, [_shape(repository, point) for point in points], "live")


@click.command(cls=Command, examples="holdfast point pin web01@latest\nholdfast point pin web01@latest --release")
@_POINTS
@click.option("--release", is_flag=True, help="Let retention judge them again.")
@click.pass_context
def pin(context: click.Context, references: Sequence[str], *, release: bool) -> None:
    """Keep points whatever the rules of retention say."""
    common = Common.of(context)
    wanted = [parse_reference(text) for text in references]
    with open_repository(common.repository(), common.warn) as repository:
        points = choose_points(repository, wanted)
        (decide.unpin_points if release else decide.pin_points)(repository, _ids(points))
        shapes = [_shape(repository, point) for point in points]
    _show(common, points, shapes, "no longer pinned" if release else "pinned")


@click.command(
    cls=Command,
    examples="holdfast point hold web01@latest --reason case-4711\nholdfast point hold web01@latest --release",
)
@_POINTS
@click.option("--reason", default="", metavar="TEXT", help="Why, for those who ask later.")
@click.option("--release", is_flag=True, help="End the holds on them that persons put there.")
@click.option("--evict", is_flag=True, help="End those of machines that ran from them and are gone for good.")
@click.pass_context
def hold(context: click.Context, references: Sequence[str], reason: str, *, release: bool, evict: bool) -> None:
    """Let nobody delete points until they are released.

    A legal hold. A point in the trash can be held too, by its id. Holding needs no right to delete; releasing does.
    What a machine runs from is held by itself until `mount finalize` or `mount remove`.
    """
    if release and evict:
        raise UsageError("--release and --evict end different holds", hint="give one, then the other")
    common = Common.of(context)
    wanted = [parse_reference(text) for text in references]
    with open_repository(common.repository(), common.warn) as repository:
        points = choose_points(repository, wanted)
        if release:
            outcome = "no longer held by a person"
            decide.release_points(repository, _ids(points))
        elif evict:
            outcome = "no longer held by a machine"
            decide.evict_tenants(repository, _ids(points))
        else:
            outcome = "held"
            decide.hold_points(repository, _ids(points), reason)
        shapes = [_shape(repository, point) for point in points]
    _show(common, points, shapes, outcome)


@click.command(
    cls=Command,
    examples="holdfast point lock web01@latest --for 30d\nholdfast point lock web01@latest --until 2027-06-30T00:00",
)
@_POINTS
@click.option("--until", type=Moment(), metavar="TIME", help="Local time unless it has a zone.")
@click.option("--for", "period", type=Duration(), metavar="PERIOD", help="From now: 12h, 30d, 8w.")
@click.pass_context
def lock(context: click.Context, references: Sequence[str], until: datetime | None, period: timedelta | None) -> None:
    """Let nobody delete points before a time.

    Nobody can take a lock back or make it shorter; a longer one replaces it. In a bucket with object lock the store
    locks all that the points need, rounded up to the month. Elsewhere only Holdfast honours the lock, and warns of it.
    """
    common = Common.of(context)
    wanted = [parse_reference(text) for text in references]
    end = _end_of_lock(until, period)
    with open_repository(common.repository(), common.warn) as repository:
        points = choose_points(repository, wanted)
        if weakness := repository.locking.weakness:
            common.warn(weakness)
        decide.lock_points(repository, _ids(points), end)
        shapes = [_shape(repository, point) for point in points]
    _show(common, points, shapes, f"locked until {local_text(end)}")


def _end_of_lock(until: datetime | None, period: timedelta | None) -> datetime:
    try:
        if until is None and period is not None:
            return datetime.now(UTC) + period
    except OverflowError as error:
        raise UsageError("--for is longer than any calendar", hint="for instance --for 30d") from error
    if until is None or period is not None:
        raise UsageError("a lock needs either --until or --for", hint="for instance --for 30d")
    return until


def _ids(points: Iterable[RestorePoint]) -> list[str]:
    return [point.id for point in points]


def _shape(repository: Repository, point: RestorePoint) -> dict[str, object]:
    return point_shape(repository.state().standings[point.id], repository.id, repository.log.clock())


def _show(common: Common, points: Sequence[RestorePoint], shapes: Sequence[dict[str, object]], outcome: str) -> None:
    """What was decided: the points as they are now, or a line for each."""
    if common.json:
        print_json(shapes)
        return
    for point in points:
        captured = local_text(point.captured_at)
        click.echo(printable(f"{outcome}: point {point.id} of {point.machine}, captured {captured}"))
