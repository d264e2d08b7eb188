"""The program's entry: the tree of commands, and what becomes of whatever they raise."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from itertools import takewhile

import click
from click.shell_completion import shell_complete

from holdfast.bootstrap.memory import forbid_core_dumps
from holdfast.cli.common import Group
from holdfast.cli.failure import exit_status, report
from holdfast.cli.interrupt import Interrupted, interruptible
from holdfast.cli.lazy import Stub
from holdfast.cli.output import forget_stdout, reader_has_gone

PROGRAM = "holdfast"
_COMPLETE = "_HOLDFAST_COMPLETE"  # set by the scripts of `holdfast completion`

_COMMANDS = [
    Stub("repository", "holdfast.cli.repository:repository", "Make, describe and check repositories."),
    Stub("machine", "holdfast.cli.machine:machine", "See the machines of a hypervisor, take them elsewhere."),
    Stub("backup", "holdfast.cli.backup:backup", "Protect machines, or plain disk images."),
    Stub("point", "holdfast.cli.point:point", "See restore points, delete and protect them."),
    Stub("retention", "holdfast.cli.retention:retention", "Keep restore points by rules."),
    Stub("restore", "holdfast.cli.restore:restore", "Bring disks or machines back."),
    Stub("file", "holdfast.cli.file:file", "See files of restore points, and bring them back."),
    Stub("mount", "holdfast.cli.mount:mount", "Use restore points in place, without restoring them."),
    Stub("copy", "holdfast.cli.copy:copy", "Copy restore points into another repository."),
    Stub("doctor", "holdfast.cli.doctor:doctor", "Check that this computer has what Holdfast needs."),
    Stub("completion", "holdfast.cli.completion:completion", "Print the completion script of a shell."),
]

_EXAMPLES = """
holdfast repository create --repository /srv/backup --passphrase-file ~/.holdfast-passphrase
holdfast backup --connect qemu:///system web01 db01
holdfast point list
holdfast restore disk web01@latest --disk vda --output web01.raw
"""


@click.group(PROGRAM, cls=Group, commands=_COMMANDS, examples=_EXAMPLES, context_settings={"max_content_width": 110})
@click.version_option(package_name=PROGRAM, message="%(prog)s %(version)s")
def root() -> None:
    """Protect virtual machines and bring any of them back."""


def main() -> None:
    """Run the program with the process's arguments and end the process."""
    # NumPy's threads for algebra, of which there is none here: starting them takes longer than many a command.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if instruction := os.environ.get(_COMPLETE):
        sys.exit(shell_complete(root, {}, PROGRAM, _COMPLETE, instruction))
    forbid_core_dumps()
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()
    gc.freeze()  # all memory goes with the process: looking for cycles in it takes 40 ms
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Whatever goes wrong has been told on stderr by then."""
    try:
        with interruptible(), root.make_context(PROGRAM, list(arguments)) as context:
            return int(root.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (Exception, Interrupted) as error:  # noqa: BLE001 - nothing may leave the program untold
        return _fail(error, arguments)


def _fail(error: BaseException, arguments: Sequence[str]) -> int:
    if isinstance(error, BrokenPipeError) and reader_has_gone():
        forget_stdout()
        return 128 + signal.SIGPIPE
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    debug = bool(os.environ.get("HOLDFAST_DEBUG")) or _said(arguments, "-v", "--verbose")
    report(error, as_json=_said(arguments, "--json"), with_traceback=debug)
    return exit_status(error)


def _said(arguments: Sequence[str], *flags: str) -> bool:
    """Looks at the bare arguments, since a command line that cannot be parsed must be answered in JSON too."""
    return any(argument in flags for argument in takewhile(lambda argument: argument != "--", arguments))
