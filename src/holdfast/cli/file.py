"""`holdfast file`: files of restore points, without booting or restoring a machine."""

import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from holdfast.bootstrap.wiring import foreign_reader, open_for_reading
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.lazy import Stub
from holdfast.cli.output import local_text, print_json, print_table
from holdfast.cli.parameters import volume_keys
from holdfast.cli.point_choice import choose_point
from holdfast.core.errors import UsageError
from holdfast.core.file_reference import FileReference, parse_file
from holdfast.core.sizes import size_text
from holdfast.filesystems import Inspection, VolumeFound, Wanted
from holdfast.jobs.files import FileInfo, doubts, listed, looked_into
from holdfast.mover.contents import read_pieces

_LS_EXAMPLES = """
holdfast file ls web01@latest:/etc
holdfast file ls web01@2026-11-22T02:00:/var/log --json
holdfast file ls db01@latest:/ --volume vg0/data
"""
_CAT_EXAMPLES = """
holdfast file cat web01@latest:/etc/fstab
holdfast file cat web01@latest-1:/var/log/syslog
"""
_VOLUMES_EXAMPLES = """
holdfast file volumes web01@latest
holdfast file volumes laptop@latest --volume-key vda3=passphrase.txt
"""
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@click.group(
    cls=Group,
    commands=[
        Stub("diff", "holdfast.cli.file_diff:diff", "Show what files changed between two points."),
        Stub("find", "holdfast.cli.file_find:find", "Find files by name, in one point or in all."),
        Stub("get", "holdfast.cli.file_get:get", "Bring a file or a folder back."),
    ],
)
def file() -> None:
    """See files of restore points, and bring them back.

    A file is written MACHINE@POINT:/PATH, with a point as for `point show`. The guest's volumes are put together as its
    own fstab says; where there is none, each stands under its name, and --volume NAME shows one alone.
    """


def volume_options(command: _Decorated) -> _Decorated:
    """The options of every command that looks into disks."""
    keys = click.option(
        "--volume-key",
        metavar="[VOLUME=]FILE",
        multiple=True,
        help="Open an encrypted volume with the passphrase or key in FILE. Repeatable.",
    )
    volume = click.option("--volume", metavar="NAME", help="Only this volume. See `holdfast file volumes`.")
    return volume(keys(command))


def wanted_volumes(common: Common, said: Mapping[str, Any]) -> Wanted:
    """What those options said. Raises UsageError, and as reading a file does."""
    keys = volume_keys(said["volume_key"])
    return Wanted(volume=said["volume"], keys=keys, foreign=foreign_reader(common.note))


@contextmanager
def look(common: Common, reference: FileReference, wanted: Wanted) -> Iterator[Inspection]:
    """Into the point that is meant; what is doubtful about it is told on stderr."""
    with open_for_reading(common.repository(), common.warn) as repository:
        point = choose_point(repository, reference.point)
        with looked_into(repository, point, wanted) as inspection:
            for doubt in doubts(point, inspection):
                common.warn(doubt)
            yield inspection


@file.command(cls=Command, examples=_LS_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT:/PATH")
@volume_options
@click.pass_context
def ls(context: click.Context, /, reference: str, **said: Any) -> None:
    """List a directory of a restore point, or one file."""
    common = Common.of(context)
    wanted_file, wanted = parse_file(reference), wanted_volumes(common, said)
    with look(common, wanted_file, wanted) as inspection:
        found = [FileInfo.of(entry) for entry in listed(inspection, wanted_file.path)]
    if common.json:
        print_json(found)
    else:
        print_table(("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME"), [file_row(each) for each in found])


@file.command(cls=Command, examples=_CAT_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT:/PATH")
@volume_options
@click.pass_context
def cat(context: click.Context, /, reference: str, **said: Any) -> None:
    """Write a file of a restore point to stdout."""
    common = Common.of(context)
    wanted_file, wanted = parse_file(reference), wanted_volumes(common, said)
    if common.json:
        raise UsageError("a file's bytes are not JSON", hint="leave --json out", code="no-json")
    with look(common, wanted_file, wanted) as inspection:
        found = inspection.look(wanted_file.path, follow=True)
        if found.kind != "file":
            raise UsageError(f"{reference} is no file", hint="holdfast file get brings folders back", code="not-a-file")
        for piece in read_pieces(inspection, found):
            _write(piece.content, piece.length)


@file.command(cls=Command, examples=_VOLUMES_EXAMPLES)
@click.argument("reference", metavar="MACHINE@POINT")
@volume_options
@click.pass_context
def volumes(context: click.Context, /, reference: str, **said: Any) -> None:
    """List the volumes of a restore point.

    What is in them, where the guest has them, and what cannot be read and why.
    """
    common = Common.of(context)
    with look(common, parse_file(reference), wanted_volumes(common, said)) as inspection:
        found = inspection.opened.volumes
    if common.json:
        print_json([_volume_shape(each) for each in found])
    else:
        headings = ("VOLUME", "SIZE", "FILE SYSTEM", "LABEL", "AT", "NOT READ BECAUSE")
        print_table(headings, [_volume_row(each) for each in found])


def file_row(found: FileInfo) -> tuple[str, ...]:
    """As `ls -l` would show it, with its whole path."""
    arrow = f" -> {found.target}" if found.target is not None else ""
    problem = f" ({found.problem})" if found.problem else ""
    kinds = {"dir": stat.S_IFDIR, "link": stat.S_IFLNK, "file": stat.S_IFREG, "other": 0}
    return (
        stat.filemode(kinds[found.type] | found.mode),
        str(found.uid),
        str(found.gid),
        size_text(found.size_bytes),
        local_text(found.modified_at) if found.modified_at else "?",
        f"{found.path}{arrow}{problem}",
    )


def _write(content: bytes | memoryview | None, length: int) -> None:
    """To stdout; zeros in steps, since a hole may be larger than memory."""
    output = sys.stdout.buffer
    if content is not None:
        output.write(content)
        return
    zeros = bytes(1 << 20)
    for at in range(0, length, len(zeros)):
        output.write(zeros[: length - at])


def _volume_shape(volume: VolumeFound) -> dict[str, Any]:
    return {
        "name": volume.name,
        "size_bytes": volume.size_bytes,
        "file_system": volume.file_system,
        "label": volume.label or None,
        "uuid": volume.uuid or None,
        "layers": volume.layers,
        "mounted_at": volume.mounted_at,
        "reason": volume.reason or None,
        "doubt": volume.doubt,
        "reader": volume.reader,
    }


def _volume_row(volume: VolumeFound) -> tuple[str, ...]:
    size = "?" if volume.size_bytes is None else size_text(volume.size_bytes)
    return volume.name, size, volume.file_system or "", volume.label, ", ".join(volume.mounted_at), volume.reason
