"""The options of every command, accepted before and after the verb; the later one counts."""

import json
import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.settings import (
    LIKE_SECRET,
    Options,
    RepositorySettings,
    StorageSettings,
    is_passphrase_given,
    read_repository_settings,
    read_second_settings,
    read_storage_settings,
)
from holdfast.cli.lazy import LazyGroup
from holdfast.core.errors import UsageError

_META = "holdfast.common"  # contexts of one invocation share their meta, so an inner option replaces an outer one


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the common options said."""

    options: Options
    json: bool
    verbose: bool

    @classmethod
    def of(cls, context: click.Context) -> "Common":
        """What was said before or after the verb, up to now."""
        said: dict[str, Any] = context.meta.get(_META, {})
        return cls(
            options=Options(
                repository=said.get("repository"),
                limit_rate=said.get("limit_rate"),
                passphrase_file=said.get("passphrase_file"),
                passphrase_command=said.get("passphrase_command"),
                key_file=said.get("key_file"),
            ),
            json=said.get("json", False),
            verbose=said.get("verbose", False) or bool(os.environ.get("HOLDFAST_DEBUG")),
        )

    def warn(self, text: str) -> None:
        """Tell the user on stderr, beside whatever the command prints."""
        click.echo(json.dumps({"warning": text}) if self.json else f"warning: {text}", err=True)

    def note(self, text: str) -> None:
        """Tell a person on stderr what takes long; programs are not told."""
        if not self.json:
            click.echo(text, err=True)

    def naming(self, url: str) -> "Common":
        """The same, for the repository at `url`."""
        return replace(self, options=replace(self.options, repository=url))

    def repository(self) -> RepositorySettings:
        """Settings of an existing repository; asks for its passphrase if nothing else gives it."""
        return read_repository_settings(self.options, os.environ, ask=_ask_once if sys.stdin.isatty() else None)

    @property
    def gives_passphrase(self) -> bool:
        """Whether a passphrase is given, right or wrong."""
        return is_passphrase_given(self.options, os.environ)

    def storage(self) -> StorageSettings:
        """Settings for a look without a key."""
        return read_storage_settings(self.options, os.environ)

    def new_repository(self, url: str | None) -> RepositorySettings:
        """Settings of a repository to be made, at `url` if given; a passphrase that is typed is asked for twice."""
        if url is not None and self.options.repository not in {None, url}:
            raise UsageError("two places for one repository", hint="give URL or --repository, not both")
        options = replace(self.options, repository=url or self.options.repository)
        return read_repository_settings(options, os.environ, ask=ask_twice if sys.stdin.isatty() else None)

    def like(self, url: str, new: RepositorySettings) -> RepositorySettings:
        """Settings of the repository at `url` that a new one is to be like."""
        return read_second_settings(new, self.naming(url).options, os.environ, LIKE_SECRET)


class Command(click.Command):
    """A command with the common options and, at the end of its help, examples."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.own = tuple(self.params)
        self.params += _common_options()
        self.examples = examples.strip().splitlines()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, those of every command, and the examples."""
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                (own if parameter in self.own else common).append(record)
        for title, records in (("Options", own), ("Options of every command", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))


class Group(Command, LazyGroup):
    """A group of commands, listed before the options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def _common_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--repository"],
            metavar="URL",
            help="The repository: a path, file:///path or s3://bucket/prefix. [HOLDFAST_REPOSITORY]",
            **_SHARED,
        ),
        click.Option(
            ["--passphrase-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Read the passphrase from FILE. [HOLDFAST_PASSPHRASE_FILE]",
            **_SHARED,
        ),
        click.Option(
            ["--passphrase-command"],
            metavar="COMMAND",
            help="Run COMMAND, it prints the passphrase. [HOLDFAST_PASSPHRASE_COMMAND]",
            **_SHARED,
        ),
        click.Option(
            ["--limit-rate"],
            metavar="RATE",
            help="Move at most so many bytes a second to and from the repository, like 20MiB, "
            "or by the time of day, like '20MiB; mon-fri 08:00-18:00=2MiB'. [HOLDFAST_BANDWIDTH]",
            **_SHARED,
        ),
        click.Option(
            ["--key-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Open with the key file FILE instead. [HOLDFAST_KEY_FILE]",
            **_SHARED,
        ),
        click.Option(["--json"], is_flag=True, help="Machine-readable output.", **_SHARED),
        click.Option(["-v", "--verbose"], is_flag=True, help="Show tracebacks of unexpected errors.", **_SHARED),
    ]


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        context.meta.setdefault(_META, {})[parameter.name] = value


_SHARED: dict[str, Any] = {"expose_value": False, "callback": _remember}


@cache
def _ask_once() -> str:
    """For all repositories of one command. Shares of a recovery key are typed one after the other."""
    from holdfast.repository import TooFewSharesError, shares_error  # noqa: PLC0415 - `--help` reads no such library

    typed = _ask("Passphrase")
    while isinstance(lacking := shares_error(os.fsencode(typed)), TooFewSharesError):
        share = _ask(f"Next share, {lacking.missing} to go")
        if not share:
            break
        wrong = shares_error(os.fsencode(f"{typed}/{share}"))
        if wrong is None or isinstance(wrong, TooFewSharesError):
            typed = f"{typed}/{share}"
        else:
            click.echo(f"{wrong.message}; {wrong.hint}", err=True)
    return typed


def _ask(what: str) -> str:
    return str(click.prompt(what, hide_input=True, err=True, default="", show_default=False))


def ask_twice(what: str = "Passphrase") -> str:
    """A passphrase to be, from a person who must type it twice."""
    return str(
        click.prompt(what, hide_input=True, err=True, default="", show_default=False, confirmation_prompt="Once more")
    )
