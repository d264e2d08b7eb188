"""`holdfast mount`: use restore points in place, without restoring them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.serving import end_serving, is_attended, serve_nbd, served
from holdfast.bootstrap.settings import find_run_directory
from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.confirmation import YES
from holdfast.cli.file import volume_options
from holdfast.cli.listen import parse_tls, tcp_address
from holdfast.cli.mount_files import create_directory_mount, create_webdav_mount
from holdfast.cli.mount_machines import CONNECT, discard, finalize, resume
from holdfast.cli.output import local_text, print_json, print_table, printable
from holdfast.cli.point_choice import choose_point
from holdfast.cli.tenants import StrandedMachine, find_stranded, mounts_of, stranded_machines
from holdfast.core.errors import UsageError
from holdfast.core.mount import ListenAddress, Mount, Terms, Tls, UnixAddress
from holdfast.core.selection import parse_reference
from holdfast.jobs.export import disks_to_export

_CREATE_EXAMPLES = """
holdfast mount create web01@latest --nbd
holdfast mount create web01@latest --disk vda --nbd /run/web01.sock --overlay
holdfast mount create web01@latest --fuse /mnt/web01
holdfast mount create web01@latest --webdav 10.0.0.5:8443 --tls-certificates /etc/pki/holdfast
holdfast mount create web01@latest --nbd --listen 10.0.0.5:10809 --tls-certificates /etc/pki/holdfast
"""
_OWN_DIRECTORY = "-"
"""What `--nbd` without a SOCKET stands for."""
_ANY_PORT = "127.0.0.1:0"
"""What `--webdav` without HOST:PORT stands for."""
_HEADINGS = ("MOUNT", "KIND", "MACHINE", "POINT", "SINCE", "RUNS", "WRITES", "URI")


@click.group(cls=Group)
def mount() -> None:
    """Use restore points in place, without restoring them."""


@mount.command(cls=Command, examples=_CREATE_EXAMPLES)
@click.argument("reference", metavar="POINT")
@click.option(
    "--nbd",
    "socket",
    is_flag=False,
    flag_value=_OWN_DIRECTORY,
    metavar="[SOCKET]",
    help="Serve the disks over NBD, at a UNIX socket.  [default: one of the mount's own]",
)
@click.option(
    "--fuse",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Show the files below DIR, an empty directory, instead.",
)
@click.option(
    "--webdav",
    is_flag=False,
    flag_value=_ANY_PORT,
    metavar="[HOST:PORT]",
    help="Serve the files over WebDAV, with a password that is made for it, instead.  [default: this host, any port]",
)
@click.option("--disk", "disks", multiple=True, metavar="NAME", help="This disk only. Repeatable.  [default: all]")
@click.option("--overlay", is_flag=True, help="Take writes too, and throw them away at the end. One disk only.")
@click.option("--listen", metavar="HOST:PORT", help="Listen there instead; port 0 is any that is free.")
@click.option(
    "--tls-certificates",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Only over TLS: server-cert.pem and server-key.pem are in DIR, and ca-cert.pem, by whose certificates clients "
    "of --nbd are known.",
)
@click.option(
    "--tls-psk",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only over TLS, to clients with a key: FILE has a line NAME:KEY for each, as psktool(1) writes it.",
)
@volume_options
@click.pass_context
def create(context: click.Context, /, reference: str, **said: Any) -> None:
    """Serve a restore point's disks or files, as they are.

    Each disk is an export under its name; files are shown read-only, as `file ls` shows them, over WebDAV to whoever
    has the password that is printed. They can be read as soon as the command returns, and until `mount remove`; the
    point is held as long. Only what is read is fetched. POINT is chosen as for `point show`. Without TLS, nothing is
    served beyond this host.
    """
    common = Common.of(context)
    if said["directory"] is not None:
        create_directory_mount(common, reference, said)
        return
    if said["webdav"] is not None:
        create_webdav_mount(common, reference, said)
        return
    tls = parse_tls(said["tls_certificates"], said["tls_psk"])
    terms = Terms(address=_address(said["socket"], said["listen"], tls), tls=tls, overlay=said["overlay"])
    wanted = parse_reference(reference)
    settings = common.repository()
    with open_for_reading(settings, common.warn) as repository:
        point = choose_point(repository, wanted)
        disks = disks_to_export(point, said["disks"])
        if terms.overlay and len(disks) > 1:
            raise UsageError("an overlay is for one disk", hint="choose it: --disk NAME", code="one-disk")
        started = serve_nbd(find_run_directory(os.environ), settings, repository, point, disks, terms)
    for warning in started.warnings:
        common.warn(warning)
    if common.json:
        print_json(started.mount)
        return
    for disk in started.mount.disks:
        click.echo(printable(disk.uri))
    click.echo(f"  until `holdfast mount remove {started.mount.id}`")


mount.add_command(finalize)
mount.add_command(resume)


@mount.command("list", cls=Command, examples="holdfast mount list\nholdfast mount list --connect qemu:///system --json")
@CONNECT
@click.pass_context
def list_mounts(context: click.Context, uri: str | None) -> None:
    """List what is served on this host, oldest first.

    KIND: `nbd` - disks; `fuse` and `webdav` - files; `boot` - the disks of a machine, RUNS, that runs from backup;
    `trial` - those of a machine that `point verify --boot` tries just now, and ends itself.

    With --connect, machines that run from backup and are served by nobody here are listed too: `mount resume` them.
    """
    base = find_run_directory(os.environ)
    mounts = served(base)
    stranded = stranded_machines(mounts, uri) if uri else []
    if Common.of(context).json:
        print_json([*mounts, *stranded])
        return
    print_table(_HEADINGS, [*(_row(each, _places(base, each)) for each in mounts), *map(_row_of_stranded, stranded)])


@mount.command(cls=Command, examples="holdfast mount remove 3f2a9c41d07b\nholdfast mount remove web01-now --yes")
@click.argument("wanted", metavar="MOUNT|MACHINE...", nargs=-1, required=True)
@CONNECT
@YES
@click.pass_context
def remove(context: click.Context, wanted: Sequence[str], uri: str | None, yes: bool) -> None:  # noqa: FBT001 - Click's
    """Stop serving, by the beginnings of the mounts' ids. Clients lose their connection, an overlay its writes.

    A machine that runs from the mount is destroyed, with all it has written, and its definition and disks are removed.
    One that was booted in its own place gets back the disks that it had.
    """
    common, base = Common.of(context), find_run_directory(os.environ)
    mounts = served(base)
    chosen: dict[str, Mount | StrandedMachine] = {}
    for each in wanted:
        one = _only(mounts_of(mounts, each), each) or find_stranded(mounts, each, uri)
        chosen[one.id if isinstance(one, Mount) else one.tenant.id] = one
    for one in chosen.values():
        if one.tenant is not None:
            discard(one.tenant, yes=yes)
        if isinstance(one, Mount):
            end_serving(base, one)
        else:
            common.warn(
                f"point {one.point} may still be held: see `holdfast point show`, `holdfast point hold --release`"
            )
    if common.json:
        print_json(list(chosen.values()))


def _only(found: Sequence[Mount], wanted: str) -> Mount | None:
    if len(found) > 1:
        raise UsageError(f"{wanted} can mean {len(found)} mounts", hint="write more of its id", code="ambiguous")
    return found[0] if found else None


def _address(socket: str | None, listen: str | None, tls: Tls | None) -> ListenAddress:
    if socket is None:
        raise UsageError("nothing says how to serve it", hint="give --nbd, --fuse DIR or --webdav", code="no-kind")
    if listen is None:
        return UnixAddress(path=None if socket == _OWN_DIRECTORY else Path(socket).absolute())
    if socket != _OWN_DIRECTORY:
        raise UsageError("two places to listen", hint="give SOCKET or --listen, not both", code="two-addresses")
    return tcp_address(listen, "--listen", tls)


def _row(mount: Mount, places: str) -> tuple[str, ...]:
    tenant = mount.tenant.name if mount.tenant else "-"
    writes = "kept" if mount.tenant else "thrown away" if mount.writable else "refused"
    return (mount.id, mount.kind, mount.machine, mount.point, local_text(mount.created_at), tenant, writes, places)


def _row_of_stranded(machine: StrandedMachine) -> tuple[str, ...]:
    return ("-", machine.kind, machine.machine, machine.point, "-", machine.tenant.name, "kept", "not served")


def _places(base: Path, mount: Mount) -> str:
    """Where it is found, all its disks in one line; and whether nobody sees to it."""
    unattended = " (unattended: mount resume)" if mount.tenant and not is_attended(base, mount) else ""
    return (mount.directory or mount.url or " ".join(disk.uri for disk in mount.disks)) + unattended
