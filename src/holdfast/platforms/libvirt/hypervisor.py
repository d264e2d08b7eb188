"""A libvirt host as a Platform."""

import operator
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import libvirt

from holdfast.core.boot import BootedMachine, BootingMachine, BootPlan
from holdfast.core.errors import NotFoundError, RefusedError, UnreachableError, UsageError
from holdfast.core.machine import MachineInfo
from holdfast.core.ports import (
    Baseline,
    Capture,
    CaptureOptions,
    DiskPlan,
    EditableMachine,
    MachinePlan,
    NewDisk,
    StandingMachine,
    TargetMachine,
)
from holdfast.core.progress import Progress
from holdfast.core.trial import TrialMachine, TrialPlan
from holdfast.platforms.libvirt.attach import add_disk
from holdfast.platforms.libvirt.boot import boot
from holdfast.platforms.libvirt.booted import find_booted
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import parse, qemu_label
from holdfast.platforms.libvirt.guest import RunningGuest, running_guest
from holdfast.platforms.libvirt.inventory import list_machines
from holdfast.platforms.libvirt.recreate import recreate
from holdfast.platforms.libvirt.running import capture_running
from holdfast.platforms.libvirt.sockets import refuse_distant
from holdfast.platforms.libvirt.stand_in import stand_in
from holdfast.platforms.libvirt.standing import examine, overwrite
from holdfast.platforms.libvirt.stopped import capture_stopped
from holdfast.platforms.libvirt.trial import memory_of, trial
from holdfast.platforms.libvirt.turn import sole_turn

_SAY_NOTHING: Final = operator.is_
"""libvirt would print errors that it also raises. A handler in Python would run signal handlers where the binding drops
what they raise: a built-in function of two arguments runs none."""


def connect(uri: str) -> "LibvirtHost":
    """Connect to the hypervisor at `uri`. Raises UnreachableError; RefusedError if it is not QEMU."""
    libvirt.registerErrorHandler(_SAY_NOTHING, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise UnreachableError(
            f"cannot reach {uri}: {error.get_error_message() or error}",
            hint="check the URI and that libvirtd runs: virsh --connect URI version",
        ) from error
    if connection.getType() != "QEMU":
        raise RefusedError(f"{uri} is {connection.getType()}, not QEMU", hint="see the README for what is supported")
    return LibvirtHost(connection, uri)


class LibvirtHost:
    """A Platform, and a context manager that ends its connection. For any thread."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._connection = connection
        self._uri = uri

    def close(self) -> None:
        """End the connection. May be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def machines(self) -> Sequence[MachineInfo]:
        """Every domain, by name."""
        return list_machines(self._connection)

    def find(self, machine: str) -> str:
        """The UUID of a domain given by UUID or name. Raises NotFoundError; UsageError if it can be two."""
        with asking("list the machines"):
            domains = [(domain.UUIDString(), domain.name()) for domain in self._connection.listAllDomains()]
        wanted = _as_uuid(machine)
        found: dict[str, str] = {identity: name for identity, name in domains if machine == name or identity == wanted}
        if not found:
            raise NotFoundError(f"no machine {machine} at {self._uri}", hint="see: holdfast machine list")
        if len(found) > 1:
            both = ", ".join(f"{name} ({identity})" for identity, name in found.items())
            raise UsageError(f"{machine} can mean {both}", hint="give the identity")
        return next(iter(found))

    @contextmanager
    def capture(
        self, machine_id: str, baseline: Baseline | None, options: CaptureOptions, progress: Progress
    ) -> Iterator[Capture]:
        """Capture all disks of a domain at one instant, running or off."""
        domain = self._look_up(machine_id)
        with asking(f"see whether machine {machine_id} runs"):
            name, running = domain.name(), domain.isActive()
        progress.step(f"Capturing {name}")
        captured: AbstractContextManager[Capture]
        if running:
            captured = capture_running(domain, self._uri, baseline, options, progress)
        else:
            captured = capture_stopped(domain, baseline, options)
        with sole_turn(name, machine_id), captured as capture:
            yield capture

    def runs_machines_as(self) -> tuple[int, int] | None:
        """QEMU's user and group, as the host's capabilities tell them."""
        with asking(f"ask {self._uri} what it can"):
            capabilities = parse(self._connection.getCapabilities())
        return qemu_label(capabilities)

    def boot(self, plan: BootPlan) -> AbstractContextManager[BootingMachine]:
        """Prepare a new domain that runs from backup."""
        refuse_distant(self._uri)
        return boot(self._connection, plan)

    @contextmanager
    def stand_in(self, plan: BootPlan) -> Iterator[BootingMachine]:
        """Prepare a domain that is there to run from backup."""
        refuse_distant(self._uri)
        domain = self._look_up(plan.identity)
        with sole_turn(domain.name(), plan.identity), stand_in(self._connection, domain, plan) as machine:
            yield machine

    def trial(self, plan: TrialPlan) -> AbstractContextManager[TrialMachine]:
        """Prepare a transient domain that is cut off from everything."""
        refuse_distant(self._uri)
        return trial(self._connection, plan)

    def guest(self, machine_id: str) -> RunningGuest:
        """The guest of a running domain."""
        return running_guest(self._look_up(machine_id))

    def memory_of(self, definition: bytes) -> int:
        """Bytes, as its definition says."""
        return memory_of(parse(definition))

    def booted(self, machine: str) -> BootedMachine | None:
        """The domain, if it runs from backup."""
        identity = self.find(machine)
        with asking(f"find machine {machine}", hint="see: holdfast machine list"):
            domain = self._connection.lookupByUUIDString(identity)
        return find_booted(domain)

    def all_booted(self) -> Sequence[BootedMachine]:
        """Every domain that does."""
        with asking("list the machines"):
            domains = self._connection.listAllDomains()
        return [booted for domain in domains if (booted := find_booted(domain)) is not None]

    def recreate(self, plan: MachinePlan) -> AbstractContextManager[TargetMachine]:
        """Prepare files and a definition for a new domain."""
        refuse_distant(self._uri)
        return recreate(self._connection, plan)

    @contextmanager
    def examine(
        self, machine_id: str, disks: Sequence[DiskPlan], baseline: Baseline | None
    ) -> Iterator[StandingMachine]:
        """Look at disks of a domain that is off."""
        domain = self._look_up(machine_id)
        with sole_turn(domain.name(), machine_id), examine(domain, disks, baseline) as machine:
            yield machine

    @contextmanager
    def overwrite(
        self, machine_id: str, disks: Sequence[DiskPlan], baseline: Baseline | None, progress: Progress
    ) -> Iterator[EditableMachine]:
        """Overwrite disks of a domain that is off."""
        domain = self._look_up(machine_id)
        with sole_turn(domain.name(), machine_id), overwrite(domain, disks, baseline, progress) as machine:
            yield machine

    def add_disk(self, machine_id: str, disk: DiskPlan, storage: Path | None) -> AbstractContextManager[NewDisk]:
        """Prepare a further disk of a domain."""
        return add_disk(self._look_up(machine_id), disk, storage)

    def _look_up(self, machine_id: str) -> Any:
        refuse_distant(self._uri)
        with asking(f"find machine {machine_id}", hint="see: holdfast machine list"):
            return self._connection.lookupByUUIDString(machine_id)


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
