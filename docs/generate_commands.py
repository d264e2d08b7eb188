# noqa: INP001 - a script beside the page it writes
"""Writes docs/commands.md from the program's own help: `.venv/bin/python docs/generate_commands.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from holdfast.cli.lazy import Stub
from holdfast.cli.main import PROGRAM, root

TARGET = Path(__file__).with_name("commands.md")
_WIDTH = 100

_HEAD = """\
# Commands

What `holdfast COMMAND --help` says, written by `docs/generate_commands.py`. Shapes of `--json` and exit codes are an
interface; tables and wording are not.

| exit | meaning |
| --- | --- |
| 0 | done |
| 1 | failed, damage found |
| 2 | the command line means nothing, or more than one thing |
| 3 | finished with warnings |
| 4 | no such machine, point, disk or repository |
| 5 | wrong passphrase, or not allowed |
| 6 | refused by a guard |
| 7 | hypervisor or storage does not answer |
| 8 | condition not met (`doctor`) |
| 9 | somebody else is at it, try later |
| 130, 143 | interrupted by SIGINT, SIGTERM |

An option comes before its variable: `HOLDFAST_REPOSITORY`, `HOLDFAST_PASSPHRASE`, `HOLDFAST_PASSPHRASE_FILE`,
`HOLDFAST_PASSPHRASE_COMMAND`, `HOLDFAST_KEY_FILE`, `HOLDFAST_CONNECT`. A key to be made has the same four with
`HOLDFAST_NEW_` in front (`HOLDFAST_NEW_KEY_FILE`), what is copied to with `HOLDFAST_TARGET_`, what a new repository is
made like with `HOLDFAST_LIKE_`. `HOLDFAST_DEBUG=1` shows tracebacks of
unexpected errors. What is remembered of a repository between runs is disposable and lies in
`$XDG_CACHE_HOME/holdfast`.

With `--json`, lists are one array, `info` and `show` one object. `backup`, `restore`, `copy run` and `repository check`
print JSON lines of type `progress`, `step` and `warning`; the last line is always of type `end`, with `state` (`done`,
`warnings`, `failed`), `exit` and `results`. Errors go to stderr as `{"error": {"kind", "message", "hint", "code"},
"exit"}`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(path, command) for path, command in _commands([PROGRAM], root))])


def _commands(path: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands([*path, name], child.load() if isinstance(child, Stub) else child)


def _section(path: list[str], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path), terminal_width=_WIDTH)
    return f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
