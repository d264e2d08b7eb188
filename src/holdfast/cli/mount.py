"""`holdfast mount`: use restore points in place, without restoring them."""

import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from holdfast.bootstrap.serving import end_serving, serve_nbd, served
from holdfast.bootstrap.settings import find_run_directory
from holdfast.bootstrap.wiring import open_for_reading
from holdfast.cli.common import Command, Common, Group
from holdfast.cli.output import local_text, print_json, print_table, printable
from holdfast.cli.point_choice import choose_point
from holdfast.core.errors import NotFoundError, RefusedError, UsageError
from holdfast.core.mount import Certificates, ListenAddress, Mount, SharedKeys, TcpAddress, Terms, Tls, UnixAddress
from holdfast.core.selection import parse_reference
from holdfast.jobs.export import disks_to_export

_CREATE_EXAMPLES = """
holdfast mount create web01@latest --nbd
holdfast mount create web01@latest --disk vda --nbd /run/web01.sock --overlay
holdfast mount create web01@latest --nbd --listen 10.0.0.5:10809 --tls-certificates /etc/pki/holdfast
"""
_OWN_DIRECTORY = "-"
"""What `--nbd` without a SOCKET stands for."""


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
@click.option("--disk", "disks", multiple=True, metavar="NAME", help="This disk only. Repeatable.  [default: all]")
@click.option("--overlay", is_flag=True, help="Take writes too, and throw them away at the end. One disk only.")
@click.option("--listen", metavar="HOST:PORT", help="Listen there instead; port 0 is any that is free.")
@click.option(
    "--tls-certificates",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Only over TLS, to clients with a certificate: ca-cert.pem, server-cert.pem, server-key.pem are in DIR.",
)
@click.option(
    "--tls-psk",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only over TLS, to clients with a key: FILE has a line NAME:KEY for each, as psktool(1) writes it.",
)
@click.pass_context
def create(context: click.Context, /, reference: str, **said: Any) -> None:
    """Serve a restore point's disks, without restoring them.

    Each is an export under its name. The disks can be read as soon as the command returns, and until `mount remove`;
    the point is held as long. Only what is read is fetched. POINT is chosen as for `point show`. Without TLS, nothing
    is served beyond this host.
    """
    common = Common.of(context)
    tls = _tls(said["tls_certificates"], said["tls_psk"])
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


@mount.command("list", cls=Command, examples="holdfast mount list\nholdfast mount list --json")
@click.pass_context
def list_mounts(context: click.Context) -> None:
    """List what is served on this host, oldest first."""
    mounts = served(find_run_directory(os.environ))
    if Common.of(context).json:
        print_json(mounts)
    else:
        print_table(
            ("MOUNT", "MACHINE", "POINT", "SINCE", "WRITES", "URI"), [row for each in mounts for row in _rows(each)]
        )


@mount.command(cls=Command, examples="holdfast mount remove 3f2a9c41d07b\nholdfast mount remove 3f2a")
@click.argument("prefixes", metavar="MOUNT...", nargs=-1, required=True)
@click.pass_context
def remove(context: click.Context, prefixes: Sequence[str]) -> None:
    """Stop serving, by the beginnings of the mounts' ids. Clients lose their connection, an overlay its writes."""
    base = find_run_directory(os.environ)
    mounts = served(base)
    chosen = [_with_id(mounts, prefix) for prefix in prefixes]
    for each in {one.id: one for one in chosen}.values():
        end_serving(base, each)
    if Common.of(context).json:
        print_json(chosen)


def _with_id(mounts: Sequence[Mount], prefix: str) -> Mount:
    found = [each for each in mounts if prefix and each.id.startswith(prefix)]
    if not found:
        raise NotFoundError(f"there is no mount {prefix}", hint="see `holdfast mount list`", code="no-mount")
    if len(found) > 1:
        raise UsageError(f"{prefix} begins the ids of {len(found)} mounts", hint="write more of it", code="ambiguous")
    return found[0]


def _address(socket: str | None, listen: str | None, tls: Tls | None) -> ListenAddress:
    if socket is None:
        raise UsageError("nothing says how to serve it", hint="give --nbd", code="no-kind")
    if listen is None:
        return UnixAddress(path=None if socket == _OWN_DIRECTORY else Path(socket).absolute())
    if socket != _OWN_DIRECTORY:
        raise UsageError("two places to listen", hint="give SOCKET or --listen, not both", code="two-addresses")
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"--listen: {listen!r} is not HOST:PORT", hint="for instance 127.0.0.1:10809, or [::1]:10809")
    if tls is None and not _is_loopback(host):
        raise RefusedError(
            f"without TLS everybody who reaches {host} could read the disks",
            hint="give --tls-certificates or --tls-psk, or listen at 127.0.0.1",
            code="tls-needed",
        )
    return TcpAddress(host=host, port=int(port))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name may mean anything; it is not asked for here, and something else later
        return False


def _tls(certificates: Path | None, keys: Path | None) -> Tls | None:
    if certificates is not None and keys is not None:
        raise UsageError("two kinds of TLS", hint="give --tls-certificates or --tls-psk, not both", code="two-kinds")
    for given in (certificates, keys):
        if given is not None and not given.exists():
            raise NotFoundError(
                f"there is no {given}", hint="check --tls-certificates or --tls-psk", code="no-tls-files"
            )
    if certificates is not None:
        return Certificates(directory=certificates.absolute())
    return None if keys is None else SharedKeys(file=keys.absolute())


def _rows(mount: Mount) -> list[tuple[str, ...]]:
    return [
        (
            mount.id,
            mount.machine,
            mount.point,
            local_text(mount.created_at),
            "thrown away" if mount.writable else "refused",
            disk.uri,
        )
        for disk in mount.disks
    ]
