"""`holdfast doctor`: whether this computer has what Holdfast needs."""

import os

import click

from holdfast.bootstrap.inspection import probes
from holdfast.bootstrap.settings import CONNECT, REPOSITORY, read_storage_settings
from holdfast.cli.common import Command, Common
from holdfast.cli.output import print_json, print_table
from holdfast.jobs.doctor import examine

CONDITION_NOT_MET = 8

_EXAMPLES = """
holdfast doctor
holdfast doctor --connect qemu:///system --repository /srv/backup
"""


@click.command(cls=Command, examples=_EXAMPLES)
@click.option("--connect", metavar="URI", help="Also look whether this hypervisor answers.  [HOLDFAST_CONNECT]")
@click.pass_context
def doctor(context: click.Context, connect: str | None) -> int:
    """Check that this computer has what Holdfast needs.

    Looks at programs and libraries, and at the hypervisor and the repository if they are named. Ends with 8 if
    something is missing, and says what to do about it.
    """
    common = Common.of(context)
    named = common.options.repository or os.environ.get(REPOSITORY)
    storage = read_storage_settings(common.options, os.environ) if named else None
    checkup = examine(probes(connect or os.environ.get(CONNECT), storage))
    if common.json:
        print_json(checkup)
    else:
        rows = [(c.name, "ok" if c.ok else "NOT OK", c.found, c.needed, c.remedy) for c in checkup.checks]
        print_table(("CHECK", "STATE", "FOUND", "NEEDED", "REMEDY"), rows)
    return 0 if checkup.ok else CONDITION_NOT_MET
