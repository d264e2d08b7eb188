"""Machines that run from backup, as commands are given them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from holdfast.bootstrap.serving import served
from holdfast.bootstrap.settings import CONNECT, RepositorySettings, find_connection, find_run_directory
from holdfast.bootstrap.wiring import connect
from holdfast.cli.common import Common
from holdfast.core.boot import BootedMachine, BootingPlatform, Origin
from holdfast.core.errors import NotFoundError
from holdfast.core.mount import Mount, Tenant

_HINT: Final = "see `holdfast mount list`; a machine whose disks are home is one like any other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A machine that runs from backup, and where."""

    connection: str
    platform: BootingPlatform
    machine: BootedMachine

    @property
    def tenant(self) -> Tenant:
        """As its service knows it."""
        return Tenant(connection=self.connection, id=self.machine.id, name=self.machine.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrandedMachine:
    """A machine that runs from backup, and is served by nobody on this host."""

    kind: str = "boot"
    machine: str
    point: str
    repository: str
    tenant: Tenant


def stranded_machines(mounts: Sequence[Mount], uri: str) -> list[StrandedMachine]:
    """Those of a hypervisor's machines."""
    served_here = {each.tenant.id for each in mounts if each.tenant}
    with connect(uri) as platform:
        return [_stranded(uri, each) for each in platform.all_booted() if each.id not in served_here]


def find_stranded(mounts: Sequence[Mount], wanted: str, uri: str | None) -> StrandedMachine:
    """The one with this name or identity. Raises NotFoundError, which says so if it is a machine like any other."""
    connection = uri or os.environ.get(CONNECT)
    found = stranded_machines(mounts, connection) if connection else []
    for each in found:
        if wanted in {each.tenant.name, each.tenant.id}:
            return each
    if connection and _is_machine(connection, wanted):
        raise _not_on_backup(wanted)
    raise NotFoundError(f"there is no mount {wanted}", hint=_HINT, code="no-mount")


def _is_machine(uri: str, wanted: str) -> bool:
    with connect(uri) as platform:
        try:
            platform.find(wanted)
        except NotFoundError:
            return False
    return True


def _not_on_backup(name: str) -> NotFoundError:
    return NotFoundError(f"{name} does not run from backup", hint=_HINT, code="not-on-backup")


def _stranded(uri: str, machine: BootedMachine) -> StrandedMachine:
    origin, tenant = machine.origin, Tenant(connection=uri, id=machine.id, name=machine.name)
    return StrandedMachine(machine=origin.machine, point=origin.point, repository=origin.repository, tenant=tenant)


@contextmanager
def find_machine(wanted: str, uri: str | None) -> Iterator[Found]:
    """The machine meant by its name, its identity, or the beginning of its mount's id.

    Raises NotFoundError if it does not run from backup, UsageError if nothing says where it could be.
    """
    connection, name = _whereabouts(wanted, uri)
    with connect(connection) as platform:
        machine = platform.booted(name)
        if machine is None:
            raise _not_on_backup(name)
        yield Found(connection=connection, platform=platform, machine=machine)


def its_repository(common: Common, origin: Origin) -> RepositorySettings:
    """The repository that it came from, unless the command line names another place for it."""
    return (common if common.options.repository else common.naming(origin.repository)).repository()


def mounts_of(mounts: Sequence[Mount], wanted: str) -> list[Mount]:
    """The mounts whose id begins so, or whose machine has this name or identity."""
    return [
        each
        for each in mounts
        if wanted and (each.id.startswith(wanted) or (each.tenant and wanted in {each.tenant.id, each.tenant.name}))
    ]


def _whereabouts(wanted: str, uri: str | None) -> tuple[str, str]:
    """The hypervisor's URI, and what the machine is called there."""
    if uri is None:
        tenants = [each.tenant for each in mounts_of(served(find_run_directory(os.environ)), wanted)]
        if len(tenants) == 1 and tenants[0] is not None:
            return tenants[0].connection, tenants[0].id
    return find_connection(uri, os.environ), wanted
