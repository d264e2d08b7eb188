"""What the demo shows: a line for each step, bars on a terminal while the program works, a table at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from demo.program import Event

if TYPE_CHECKING:
    from demo.story import Report


class Screen:
    """A terminal, or a log where there is none."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """What happens next, or what has come out."""
        self._console.print(text, markup=False)

    @contextmanager
    def command(self, text: str) -> Iterator[Callable[[Event], None]]:
        """A command line, and a listener for the events of its `--json`: bars on a terminal, steps in a log."""
        self._console.print(f"$ {text}", markup=False, style="bold")
        if not self._console.is_terminal:
            yield self._log
            return
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            yield _Bar(bars).hear

    def fail(self, message: str, hint: str) -> None:
        """Why it ended."""
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"error: {message}", markup=False)
        if hint:
            errors.print(f"  hint: {hint}", markup=False)

    def conclude(self, report: "Report") -> None:
        """The table at the end."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("POINT", "CAPTURE", "READ", "STORED", "FROZEN", "AGENT", "PROVED"):
            table.add_column(heading, no_wrap=True)
        for backup, recovery in zip(report.backups, report.recoveries, strict=True):
            frozen = backup["freeze_ms"]
            table.add_row(
                backup["point"],
                backup["capture"],
                decimal(backup["read_bytes"]),
                decimal(backup["stored_bytes"]),
                "no" if frozen is None else f"{frozen:.0f} ms",
                f"{recovery.seconds_to_agent:.1f} s",
                "yes" if recovery.proved else "NO",
            )
        self._console.print(table)

    def _log(self, event: Event) -> None:
        if event["type"] == "step":
            self.say(f"  {event['step']}")
        elif event["type"] == "warning":
            self.say(f"  warning: {event['message']}")


class _Bar:
    """The bar of the program's present phase; one that tells no bytes just moves."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._phase = bars.add_task("", total=None, amount="")

    def hear(self, event: Event) -> None:
        """Show one event."""
        if event["type"] == "step":
            self._bars.remove_task(self._phase)
            self._phase = self._bars.add_task(event["step"], total=None, amount="")
        elif event["type"] == "progress":
            done, total = event["done_bytes"], event["total_bytes"]
            amount = f"{decimal(done)} of {decimal(total)}"
            self._bars.update(self._phase, completed=done, total=total, amount=amount)
        elif event["type"] == "warning":
            self._bars.console.print(f"  warning: {event['message']}", markup=False)
