"""What goes to stdout: JSON for programs, aligned columns for people. Columns are no interface, JSON is."""

import dataclasses
import json
import os
import select
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click


def plain(value: Any) -> Any:
    """`value` in JSON's own types: dataclasses by field, times in RFC 3339 and UTC."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    click.echo(json.dumps(plain(value)))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` under `headings` in aligned columns."""
    for line in table_lines(headings, rows):
        click.echo(line)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart, each as wide as its widest cell; no trailing blanks."""
    cells = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line, values aligned."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name.ljust(width)}  {printable(value)}".rstrip())


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or end a line: names come from elsewhere."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def counted(count: int, noun: str) -> str:
    """For instance `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def utc_text(time: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond, always of the same width."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def local_text(time: datetime) -> str:
    """Local time to the second with its offset: `MACHINE@TIME` accepts it as it stands."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def reader_has_gone() -> bool:
    """Whether whoever read our stdout has closed it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def forget_stdout() -> None:
    """Send the rest of stdout nowhere, so that neither later output nor the interpreter's last flush fails."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
