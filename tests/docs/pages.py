"""The pages of documentation, taken apart."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def fences_of(page: Path) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block."""
    yield from _FENCE.findall(text_of(page))


def anchors_of(page: Path) -> set[str]:
    """What links into the page may name, as GitHub makes anchors of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose_of(page))}


def tables_of(page: Path) -> Iterator[list[list[str]]]:
    """Each table: its header and its rows, without the line between them."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text_of(page), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
        yield [row for number, row in enumerate(rows) if number != 1]


def table_with(page: Path, *header: str) -> list[list[str]]:
    """The rows of the only table whose header begins with these cells."""
    (table,) = (rows for rows in tables_of(page) if tuple(rows[0][: len(header)]) == header)
    return table[1:]
