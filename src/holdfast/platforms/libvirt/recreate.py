"""Making a new domain of a point: files first, the definition last; without the definition no file stays."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import FailedError, FullError, RefusedError, UsageError
from holdfast.core.machine import Hardware
from holdfast.core.ports import DiskPlan, MachinePlan
from holdfast.platforms.errors import is_full
from holdfast.platforms.files.resumable import ResumableFile
from holdfast.platforms.files.target import TargetFile
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import parse, read_disks
from holdfast.platforms.libvirt.fit import fit
from holdfast.platforms.libvirt.plain import plain_definition, plain_targets
from holdfast.platforms.libvirt.rewrite import NewPlaces, Rewritten, rewrite
from holdfast.platforms.libvirt.switch import Switch


class LibvirtTarget:
    """A TargetMachine on a libvirt host."""

    def __init__(
        self, connection: Any, rewritten: Rewritten, disks: Mapping[str, TargetFile], files: Mapping[Path, bytes]
    ) -> None:
        """`files` are small ones to be made with the definition."""
        self._connection = connection
        self._rewritten = rewritten
        self._disks = disks
        self._files = files
        self._switch: Switch | None = None

    @property
    def disks(self) -> Mapping[str, TargetFile]:
        """The disks to fill, by name."""
        return self._disks

    @property
    def warnings(self) -> Sequence[str]:
        """What is not as it was on the original machine."""
        return tuple(self._rewritten.warnings)

    @property
    def is_defined(self) -> bool:
        """Whether the machine exists now."""
        return self._switch is not None

    def define(self) -> str:
        """Define the domain. Returns its UUID."""
        with contextlib.ExitStack() as unless_defined:
            for path, content in self._files.items():
                write_new(path, content)
                unless_defined.callback(path.unlink, missing_ok=True)
            with asking("define the machine", hint="its disks were restored, but not as a machine; see the message"):
                domain = self._connection.defineXML(self._rewritten.text)
                unless_defined.pop_all()
                self._switch = Switch(domain, self._rewritten.xml)
                return str(domain.UUIDString())

    def start(self) -> None:
        """Start the domain."""
        assert self._switch is not None, "defined before it is started"
        self._switch.start()

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered; None if it did not in time, or has no channel to."""
        assert self._switch is not None, "started before it is waited for"
        return self._switch.wait_for_agent(timeout_s)


@contextmanager
def recreate(connection: Any, plan: MachinePlan) -> Iterator[LibvirtTarget]:
    """Prepare a new domain. Raises RefusedError or UsageError before anything is made."""
    check_name(connection, plan.name)
    paths = place_disks(plan)
    nvram = place_variables(plan, paths)
    rewritten = redraw(plan, paths, nvram)
    fit(connection, rewritten)
    check_networks(connection, rewritten)
    require_new([*rewritten.files.values(), *([] if nvram is None else [nvram])])
    with contextlib.ExitStack() as unless_defined:
        make_disk = ResumableFile if plan.resumable else TargetFile
        disks: dict[str, TargetFile] = {}
        for disk in plan.disks:
            disks[disk.name] = make_disk(paths[disk.name], disk.size_bytes, disk.format)
            unless_defined.callback(disks[disk.name].withdraw)
        variables = {} if nvram is None or plan.nvram is None else {nvram: plan.nvram}
        target = LibvirtTarget(connection, rewritten, disks, variables)
        try:
            yield target
        finally:
            if target.is_defined:
                unless_defined.pop_all()


def redraw(plan: MachinePlan, paths: Mapping[str, Path], nvram: Path | None) -> Rewritten:
    """The machine's definition, with these images. Raises UsageError, DamagedError. Pure."""
    names = {disk.name: disk.name for disk in plan.disks}
    definition = plan.definition
    if isinstance(definition, Hardware):
        names = dict(zip(names, plain_targets(), strict=False))
        definition = plain_definition(plan.name, list(names.values()), definition)
    places = NewPlaces(
        name=plan.name,
        disks={names[disk.name]: (disk, paths[disk.name]) for disk in plan.disks},
        nvram=nvram,
        directory=next(iter(paths.values())).parent,
        networks=plan.networks,
        buses={names.get(disk, disk): bus for disk, bus in plan.buses.items()},
    )
    return rewrite(definition, places)


def place_disks(plan: MachinePlan) -> dict[str, Path]:
    """A path for each disk: in the storage named for it or for all, else beside the original, never on top of it.

    Raises RefusedError where the original's place is not a directory of this host, UsageError for a wrong mapping.
    """
    if unknown := sorted(set(plan.storage) - {"", *(disk.name for disk in plan.disks)}):
        raise UsageError(f"the point has no disk {', '.join(unknown)}", hint="see: holdfast point show")
    known = [] if isinstance(plan.definition, Hardware) else read_disks(parse(plan.definition))
    originals = {disk.name: disk.path for disk in known}
    return {disk.name: _place(disk, plan, originals.get(disk.name)) for disk in plan.disks}


def place_variables(plan: MachinePlan, disks: Mapping[str, Path]) -> Path | None:
    """Where the firmware variables are to be, if there are any: beside the first disk."""
    return None if plan.nvram is None else next(iter(disks.values())).parent / f"{plan.name}-nvram.fd"


def _place(disk: DiskPlan, plan: MachinePlan, original: Path | None) -> Path:
    directory = plan.storage.get(disk.name) or plan.storage.get("")
    if directory is None:
        if original is None or not original.parent.is_dir() or original.parent.is_relative_to("/dev"):
            raise RefusedError(
                f"disk {disk.name} was at {original or 'no path of a host'}, where no file can be made here",
                hint=f"say where: --storage {disk.name}=DIR",
                code="no-storage",
            )
        directory = original.parent
    return directory.absolute() / f"{plan.name}-{disk.name}.{disk.format}"


def check_name(connection: Any, name: str) -> None:
    """Raise RefusedError if a machine bears the name, UsageError if none can."""
    if not name or name.startswith(".") or any(character in name for character in "/\n\0"):
        raise UsageError(f"a machine cannot be called {name!r}")
    with asking("list the machines"):
        if name in {domain.name() for domain in connection.listAllDomains()}:
            raise RefusedError(f"a machine called {name} exists", hint="choose another --name", code="exists")


def check_networks(connection: Any, rewritten: Rewritten) -> None:
    """Raise RefusedError for a network this host does not have: better now than when hours of restoring are over."""
    wanted = [
        source.get("network", "") for source in rewritten.xml.iterfind("devices/interface[@type='network']/source")
    ]
    for network in wanted:
        try:
            connection.networkLookupByName(network)
        except libvirt.libvirtError as error:
            raise RefusedError(
                f"this host has no network {network}",
                hint=f"name one it has: --network {network}=NAME",
                code="no-network",
            ) from error


def require_new(paths: Iterable[Path]) -> None:
    """Raise RefusedError if there is one of these files already."""
    for path in paths:
        if path.exists():
            raise _exists(path)


def write_new(path: Path, content: bytes) -> None:
    """A new file, durable. Raises RefusedError if the path exists, FullError, FailedError."""
    try:
        with path.open("xb") as file:
            path.chmod(0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        path.unlink(missing_ok=True)
        kind = FullError if is_full(error) else FailedError
        raise kind(f"cannot write {path}: {error.strerror}") from error


def _exists(path: Path) -> RefusedError:
    return RefusedError(f"{path} exists", hint="choose another name or --storage", code="exists")
