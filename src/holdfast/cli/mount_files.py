"""`holdfast mount create --fuse`: the files of a restore point as a directory."""

import os
from collections.abc import Mapping
from typing import Any

import click

from holdfast.bootstrap.file_serving import serve_directory
from holdfast.bootstrap.settings import find_run_directory
from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.file import wanted_volumes
from holdfast.cli.output import print_json, printable
from holdfast.cli.point_choice import choose_point
from holdfast.core.errors import NotFoundError, RefusedError, UsageError
from holdfast.core.selection import parse_reference

_OF_DISKS = ("socket", "listen", "overlay", "disks", "tls_certificates", "tls_psk")


def create_directory_mount(common: Common, reference: str, said: Mapping[str, Any]) -> None:
    """Show the files of a point below a directory. Raises UsageError, NotFoundError, RefusedError, FailedError."""
    if any(said[name] for name in _OF_DISKS):
        raise UsageError("--fuse shows files, and takes no option of disks", hint="leave those out", code="two-kinds")
    directory = said["directory"].absolute()
    if not directory.is_dir():
        raise NotFoundError(f"there is no directory {directory}", hint="make an empty one", code="no-directory")
    if any(directory.iterdir()):
        raise RefusedError(f"{directory} is not empty", hint="name an empty directory", code="not-empty")
    point_reference, wanted, settings = parse_reference(reference), wanted_volumes(said), common.repository()
    with open_for_reading(settings, common.warn) as repository:
        point = choose_point(repository, point_reference)
        started = serve_directory(find_run_directory(os.environ), settings, repository, point, directory, wanted)
    for warning in started.warnings:
        common.warn(warning)
    if common.json:
        print_json(started.mount)
        return
    click.echo(printable(str(directory)))
    click.echo(f"  until `holdfast mount remove {started.mount.id}`")
