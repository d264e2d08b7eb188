"""`holdfast point diff`: where the disks of two points differ."""

import shutil
from pathlib import Path

import click

from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common
from holdfast.cli.output import print_json, printable
from holdfast.cli.place import require_place
from holdfast.cli.point_choice import choose_point
from holdfast.cli.strip import caption, picture, text_strip
from holdfast.core.progress import Silence
from holdfast.core.selection import parse_reference
from holdfast.jobs.compare import PointDifference, compare_points

_EXAMPLES = """
holdfast point diff web01@latest-1 web01@latest
holdfast point diff web01@2026-11-22T02:00 web01@latest --picture changes.svg
holdfast point diff 3f2a9c 81d07b --json
"""


@click.command("diff", cls=Command, examples=_EXAMPLES)
@click.argument("before", metavar="POINT")
@click.argument("after", metavar="POINT")
@click.option("--picture", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write the strips as SVG.")
@click.pass_context
def diff_points(context: click.Context, before: str, after: str, output: Path | None) -> None:
    """Show where the disks of two points differ.

    From the first to the second, disk by disk, each as a strip from its first byte to its last. Both are chosen as for
    `point show`. It is told from the points' trees, by segments of 64 KiB on average: no disk is read. With --json, all
    extents are listed.
    """
    common = Common.of(context)
    wanted = [parse_reference(text) for text in (before, after)]
    if output is not None:
        require_place(output)
    with open_for_reading(common.repository(), common.warn) as repository:
        first, second = (choose_point(repository, each) for each in wanted)
        difference = compare_points(repository, first, second, Silence())
    if output is not None:
        output.write_text(picture(difference), encoding="utf-8")
    if common.json:
        print_json(_shape(difference))
    else:
        _show(difference)


def _show(difference: PointDifference) -> None:
    cells = max(10, min(100, shutil.get_terminal_size().columns - 2))
    for disk in difference.disks:
        click.echo(printable(caption(disk)))
        click.echo(f"[{text_strip(disk, cells)}]")


def _shape(difference: PointDifference) -> dict[str, object]:
    disks = [
        {
            "name": disk.name,
            "change": disk.change,
            "size_before_bytes": disk.size_before_bytes,
            "size_after_bytes": disk.size_after_bytes,
            "changed_bytes": disk.changed_bytes,
            "extents": [{"offset": start, "length": end - start} for start, end in disk.extents],
        }
        for disk in difference.disks
    ]
    return {
        "before": difference.before,
        "after": difference.after,
        "machine": difference.machine,
        "machine_id": difference.machine_id,
        "captured_before_at": difference.captured_before_at,
        "captured_after_at": difference.captured_after_at,
        "disks": disks,
    }
