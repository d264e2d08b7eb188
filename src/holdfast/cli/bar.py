"""A live bar on a terminal. The only module that knows rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as Bars,
)

from holdfast.cli.output import printable
from holdfast.core.progress import Progress


@contextmanager
def progress_bar(machine: str) -> Iterator[Progress]:
    """A bar on the terminal behind stderr, live until the context ends, then full and there to stay."""
    columns = (
        TextColumn("{task.fields[machine]}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        bar = _Bar(bars, printable(machine))
        yield bar
        bar.finish()


class _Bar:
    def __init__(self, bars: Bars, machine: str) -> None:
        self._bars = bars
        self._task = bars.add_task("", machine=machine, total=None)
        self._total_bytes = 0

    def step(self, text: str) -> None:
        """A new phase begins; the bar stands where it is until the phase counts bytes of its own."""
        self._bars.update(self._task, description=printable(text))

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Bytes of the phase behind us."""
        if total_bytes != self._total_bytes:
            self._bars.reset(self._task, total=total_bytes)
        self._total_bytes = total_bytes
        self._bars.update(self._task, completed=done_bytes)

    def warning(self, text: str) -> None:
        """Something the user must know, above the bar."""
        self._bars.console.print(f"warning: {printable(text)}", markup=False, highlight=False)

    def finish(self) -> None:
        """All phases are over: what was not counted was not needed."""
        whole = self._total_bytes or 1  # a bar without a total never looks full
        self._bars.update(self._task, description="Done", total=whole, completed=whole)
