"""Commands that take a while: progress while they run, a result per machine, and one last line that says how it ended.

With `--json` stdout carries JSON lines, and the last is of type `end` however the command ended: done, with warnings,
failed, interrupted, or with a command line that could not be parsed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import click

from holdfast.cli.common import Command, Common
from holdfast.cli.failure import error_shape, exit_status, report
from holdfast.cli.interrupt import Interrupted
from holdfast.cli.output import forget_stdout, plain, printable
from holdfast.cli.progress import JsonProgress, shown_to_people
from holdfast.core.progress import Progress

WITH_WARNINGS = 3


def worst(statuses: Sequence[int]) -> int:
    """One exit status for several: a failure before a warning, a failure's own status if all failures share it."""
    failures = set(statuses) - {0, WITH_WARNINGS}
    if failures:
        return failures.pop() if len(failures) == 1 else 1
    return WITH_WARNINGS if WITH_WARNINGS in statuses else 0


@dataclass(slots=True, kw_only=True)
class Stream:
    """One run of a streaming command."""

    common: Common
    statuses: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def watch(self, name: str, *, kind: str = "machine") -> AbstractContextManager[Progress]:
        """Progress of the work on one machine, or on another `kind` of thing."""
        return nullcontext(JsonProgress({kind: name}, emit)) if self.common.json else shown_to_people(name)

    def warn(self, text: str) -> None:
        """Something the user must know that is no one machine's affair."""
        self.statuses.append(WITH_WARNINGS)
        if self.common.json:
            emit({"type": "warning", "message": text})
        else:
            self.common.warn(text)

    def result(self, value: Any, lines: Sequence[str], *, warnings: Sequence[str] = ()) -> None:
        """The work on one machine is done: remember `value` for the end, print `lines` for people."""
        self.statuses.append(WITH_WARNINGS if warnings else 0)
        self.results.append(plain(value))
        if not self.common.json:
            for line in lines:
                say(printable(line))

    @contextmanager
    def attempt(self, machine: str, **facts: str) -> Iterator[None]:
        """Within, a failure ends the work on this machine and is told, but the next one gets its turn.

        `facts` say more of what it was that failed: a point, a repository.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one machine's trouble must not leave the others unprotected
            self._failed(error, exit_status(error), machine, facts)

    @contextmanager
    def addition(self, machine: str | None, **facts: str) -> Iterator[None]:
        """The same for work that adds to what is safe already: its failure counts as a warning."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - likewise
            self._failed(error, WITH_WARNINGS, machine, facts)

    def _failed(self, error: Exception, status: int, machine: str | None, facts: Mapping[str, str]) -> None:
        self.statuses.append(status)
        failed = {"machine": machine, "machine_id": None, "point": None, **facts, "error": error_shape(error)}
        self.results.append(failed)
        report(error, as_json=self.common.json, with_traceback=self.common.verbose)

    @property
    def exit_status(self) -> int:
        """The worst so far."""
        return worst(self.statuses)


@contextmanager
def stream(common: Common) -> Iterator[Stream]:
    """A run whose end is always told."""
    run = Stream(common=common)
    try:
        yield run
    except (Exception, Interrupted) as error:
        if common.json:
            emit_end(exit_status(error), run.results)
        raise
    if common.json:
        emit_end(run.exit_status, run.results)


class StreamCommand(Command):
    """A command that streams, and says so even if its command line cannot be parsed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse, and end the stream if that fails."""
        as_json = "--json" in args or (parent is not None and Common.of(parent).json)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if as_json:
                emit_end(exit_status(error), [])
            raise


def emit_end(status: int, results: Sequence[Any]) -> None:
    """Print the last line of a stream."""
    state = {0: "done", WITH_WARNINGS: "warnings"}.get(status, "failed")
    emit({"type": "end", "state": state, "exit": status, "results": results})


def emit(event: dict[str, Any]) -> None:
    """Print one event as one line."""
    say(json.dumps(event))


def say(line: str) -> None:
    """Print a line at once. A reader that has gone, or a log that is full, misses it; the work and its status go on."""
    try:
        click.echo(line)
    except OSError:
        forget_stdout()
