"""A live bar on a terminal. The only module that knows rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    Task,
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
        _OfAmounts(BarColumn(bar_width=24)),
        _OfAmounts(TaskProgressColumn()),
        _OfAmounts(DownloadColumn(binary_units=True)),
        _OfAmounts(TransferSpeedColumn()),
        _OfAmounts(TimeRemainingColumn(compact=True)),
        TextColumn("{task.description}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        bar = _Bar(bars, printable(machine))
        yield bar
        bar.finish()


class _OfAmounts(ProgressColumn):
    """A column that is empty while a phase counts no bytes."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        """What the column says, or nothing."""
        return self._column(task) if task.fields["counts"] else ""


class _Bar:
    def __init__(self, bars: Bars, machine: str) -> None:
        self._bars = bars
        self._task = bars.add_task("", machine=machine, total=None, counts=False)
        self._total_bytes = 0
        self._counts = False

    def step(self, text: str) -> None:
        """A new phase begins; there is no bar until it counts bytes of its own."""
        self._counts = False
        self._bars.update(self._task, description=printable(text), counts=False, refresh=True)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Bytes of the phase behind us."""
        begins = not self._counts or total_bytes != self._total_bytes
        if begins:
            self._bars.reset(self._task, total=total_bytes)
        self._counts, self._total_bytes = True, total_bytes
        self._bars.update(self._task, completed=done_bytes, counts=True, refresh=begins)

    def warning(self, text: str) -> None:
        """Something the user must know, above the bar."""
        self._bars.console.print(f"warning: {printable(text)}", markup=False, highlight=False)

    def finish(self) -> None:
        """All phases are over: what was not counted was not needed. Where nothing was, there is no bar."""
        whole = self._total_bytes
        self._bars.update(self._task, description="Done", total=whole, completed=whole, counts=whole > 0)
