"""`holdfast mount create --fuse` and `--webdav`: the files of a restore point, in a directory or over the network."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from holdfast.bootstrap.file_serving import USER, FilesOfPoint, serve_directory, serve_webdav
from holdfast.bootstrap.settings import find_run_directory
from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Common
from holdfast.cli.file import wanted_volumes
from holdfast.cli.listen import parse_certificates, tcp_address
from holdfast.cli.output import plain, print_json, printable
from holdfast.cli.point_choice import choose_point
from holdfast.core.errors import NotFoundError, RefusedError, UsageError
from holdfast.core.selection import parse_reference

_OF_DISKS = ("socket", "listen", "overlay", "disks", "tls_psk")


def create_directory_mount(common: Common, reference: str, said: Mapping[str, Any]) -> None:
    """Show the files of a point below a directory. Raises UsageError, NotFoundError, RefusedError, FailedError."""
    _refuse(said, "--fuse", (*_OF_DISKS, "webdav", "tls_certificates"))
    directory = said["directory"].absolute()
    if not directory.is_dir():
        raise NotFoundError(f"there is no directory {directory}", hint="make an empty one", code="no-directory")
    if any(directory.iterdir()):
        raise RefusedError(f"{directory} is not empty", hint="name an empty directory", code="not-empty")
    with _files(common, reference, said) as files:
        started = serve_directory(find_run_directory(os.environ), files, directory)
    for warning in started.warnings:
        common.warn(warning)
    if common.json:
        print_json(started.mount)
        return
    click.echo(printable(str(directory)))
    click.echo(f"  until `holdfast mount remove {started.mount.id}`")


def create_webdav_mount(common: Common, reference: str, said: Mapping[str, Any]) -> None:
    """Serve the files of a point over WebDAV. Raises UsageError, NotFoundError, RefusedError, FailedError."""
    _refuse(said, "--webdav", _OF_DISKS)
    tls = parse_certificates(said["tls_certificates"])
    address = tcp_address(said["webdav"], "--webdav", tls)
    with _files(common, reference, said) as files:
        webdav = serve_webdav(find_run_directory(os.environ), files, address, tls)
    mount = webdav.started.mount
    for warning in webdav.started.warnings:
        common.warn(warning)
    if common.json:
        print_json({**plain(mount), "user": USER, "password": webdav.password})
        return
    click.echo(printable(mount.url or ""))
    click.echo(f"  user {USER}, password {webdav.password}")
    click.echo(f"  until `holdfast mount remove {mount.id}`")


@contextmanager
def _files(common: Common, reference: str, said: Mapping[str, Any]) -> Iterator[FilesOfPoint]:
    wanted, volumes, settings = parse_reference(reference), wanted_volumes(common, said), common.repository()
    with open_for_reading(settings, common.warn) as repository:
        point = choose_point(repository, wanted)
        yield FilesOfPoint(settings=settings, repository=repository, point=point, wanted=volumes)


def _refuse(said: Mapping[str, Any], kind: str, others: tuple[str, ...]) -> None:
    if any(said[name] for name in others):
        raise UsageError(
            f"{kind} shows files, and takes no option of another kind", hint="leave it out", code="two-kinds"
        )
