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
    """A live bar on the terminal behind stderr; it stays there, finished, when the context ends."""
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
        yield _Bar(bars, printable(machine))


class _Bar:
    def __init__(self, bars: Bars, machine: str) -> None:
        self._bars = bars
        self._task = bars.add_task("", machine=machine, total=None)

    def step(self, text: str) -> None:
        """A new phase begins: the bar starts over."""
        self._bars.reset(self._task, description=printable(text), total=None)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Bytes of the phase behind us."""
        self._bars.update(self._task, completed=done_bytes, total=total_bytes)

    def warning(self, text: str) -> None:
        """Something the user must know, above the bar."""
        self._bars.console.print(f"warning: {printable(text)}", markup=False, highlight=False)
