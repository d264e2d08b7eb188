"""A disk as a strip from its first byte to its last, darker where more of it changed: as text, and as SVG."""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from holdfast.cli.output import local_text
from holdfast.core.extents import Extent
from holdfast.core.sizes import size_text
from holdfast.jobs.compare import DiskDifference, PointDifference

_SHADES: Final = " ░▒▓█"
_WIDTH: Final = 1000
_MARGIN: Final = 20
_STRIP_HEIGHT: Final = 36
_ROW_HEIGHT: Final = 84
_HEAD_HEIGHT: Final = 56
_LEAST_OPACITY: Final = 0.25


def shares(extents: Sequence[Extent], size_bytes: int, cells: int) -> list[float]:
    """The share of each of so many equal parts of a disk that the extents cover."""
    covered = [0.0] * cells
    width = max(1, size_bytes) / cells
    for start, end in extents:
        for cell in range(int(start / width), min(cells, int(end / width) + 1)):
            covered[cell] += max(0.0, min(end, (cell + 1) * width) - max(start, cell * width)) / width
    return [min(1.0, share) for share in covered]


def text_strip(disk: DiskDifference, cells: int) -> str:
    """One line of shades. Where anything changed there is one, however little it was."""
    size_bytes = disk.size_after_bytes or disk.size_before_bytes or 0
    found = shares(disk.extents, size_bytes, cells)
    return "".join(_SHADES[-int(-share * (len(_SHADES) - 1) // 1)] for share in found)


def picture(difference: PointDifference) -> str:
    """An SVG of all disks, one below the other."""
    height = _HEAD_HEIGHT + _ROW_HEIGHT * len(difference.disks)
    title = f"{difference.machine}: what changed from {difference.before} to {difference.after}"
    between = f"{local_text(difference.captured_before_at)} to {local_text(difference.captured_after_at)}"
    rows = "".join(_row(disk, _HEAD_HEIGHT + number * _ROW_HEIGHT) for number, disk in enumerate(difference.disks))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH + 2 * _MARGIN} {height}" '
        f'font-family="sans-serif" font-size="14">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{_MARGIN}" y="24" font-weight="bold">{escape(title)}</text>\n'
        f'<text x="{_MARGIN}" y="44" fill="#555555">{escape(between)}</text>\n{rows}</svg>\n'
    )


def caption(disk: DiskDifference) -> str:
    """What happened to a disk, in a line."""
    what = {"same": "unchanged"}.get(disk.change, disk.change)
    if disk.change in {"added", "changed"}:
        what += f", {size_text(disk.changed_bytes)} in {len(disk.extents)} extents"
    sizes = [size_text(size) for size in (disk.size_before_bytes, disk.size_after_bytes) if size is not None]
    return f"{disk.name}: {what}, of {' to '.join(dict.fromkeys(sizes))}"


def _row(disk: DiskDifference, top: int) -> str:
    size_bytes = disk.size_after_bytes or disk.size_before_bytes or 0
    cells = "".join(
        f'<rect x="{_MARGIN + cell}" y="{top + 24}" width="1" height="{_STRIP_HEIGHT}" '
        f'fill-opacity="{_LEAST_OPACITY + (1 - _LEAST_OPACITY) * share:.2f}"/>'
        for cell, share in enumerate(shares(disk.extents, size_bytes, _WIDTH))
        if share > 0
    )
    return (
        f'<text x="{_MARGIN}" y="{top + 16}">{escape(caption(disk))}</text>\n'
        f'<rect x="{_MARGIN}" y="{top + 24}" width="{_WIDTH}" height="{_STRIP_HEIGHT}" fill="#e8e8e8"/>\n'
        f'<g fill="#b3261e">{cells}</g>\n'
    )
