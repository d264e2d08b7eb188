"""Making a domain that runs from backup: overlays and a definition; all of it, or nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.boot import BootPlan
from holdfast.platforms.files.overlay import exported_below, make_overlay
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.checkpoints import Checkpoints
from holdfast.platforms.libvirt.fit import fit
from holdfast.platforms.libvirt.marks import new_checkpoint_name
from holdfast.platforms.libvirt.on_backup import list_files, run_from_backup
from holdfast.platforms.libvirt.recreate import (
    check_name,
    check_networks,
    place_disks,
    place_variables,
    redraw,
    require_new,
    write_new,
)
from holdfast.platforms.libvirt.rewrite import Rewritten
from holdfast.platforms.libvirt.switch import Switch

UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A definition, and the files that it names: `checkpoint` is what the overlays' marks are called."""

    rewritten: Rewritten
    checkpoint: str
    overlays: Mapping[str, Path]
    nvram: Path | None

    @property
    def files(self) -> list[Path]:
        """All that must not exist yet."""
        return [*self.overlays.values(), *self.rewritten.files.values(), *([self.nvram] if self.nvram else [])]


class LibvirtBooting:
    """A BootingMachine. What it makes, it registers with `undo`; `take_back` undoes a domain's definition."""

    def __init__(
        self,
        connection: Any,
        plan: BootPlan,
        blueprint: Blueprint,
        take_back: Callable[[Any], None],
        undo: ExitStack,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._blueprint = blueprint
        self._take_back = take_back
        self._undo = undo
        self._switch: Switch | None = None
        self.is_started = False

    @property
    def overlays(self) -> Mapping[str, Path]:
        """Where they are made, by disk."""
        return self._blueprint.overlays

    @property
    def warnings(self) -> Sequence[str]:
        """What is not as it was on the original machine."""
        return tuple(self._blueprint.rewritten.warnings)

    def prepare(self) -> None:
        """Overlays, firmware variables, definition; and libvirt is told of the marks that the overlays hold."""
        self._make_files()
        blueprint, plan = self._blueprint, self._plan
        with asking("define the machine"):
            domain = self._connection.defineXML(blueprint.rewritten.text)
        self._undo.callback(self._unmake, domain, self._undo.pop_all())
        Checkpoints(domain, [], plan.owner).make_known(blueprint.checkpoint, list(self.overlays))
        self._switch = Switch(domain, blueprint.rewritten.xml)

    def start(self) -> None:
        """Switch it on."""
        assert self._switch is not None, "prepared before it is started"
        self._switch.start()
        self.is_started = True

    def wait_for_agent(self, timeout_s: float) -> float | None:
        """Seconds from `start` until the guest agent answered."""
        assert self._switch is not None, "started before it is waited for"
        return self._switch.wait_for_agent(timeout_s)

    def _unmake(self, domain: Any, files: ExitStack) -> None:
        """The files go last: as long as the definition may stand, the machine may run on them."""
        self._take_back(domain)
        files.close()

    def _make_files(self) -> None:
        plan, blueprint = self._plan, self._blueprint
        for disk in plan.machine.disks:
            path = blueprint.overlays[disk.name]
            make_overlay(
                path,
                disk.size_bytes,
                holes=plan.holes.get(disk.name, ()),
                bitmap=blueprint.checkpoint,
                backing=exported_below(plan.origin.socket, disk.name),
            )
            self._undo.callback(path.unlink, missing_ok=True)
        if blueprint.nvram is not None and plan.machine.nvram is not None:
            write_new(blueprint.nvram, plan.machine.nvram)
            self._undo.callback(blueprint.nvram.unlink, missing_ok=True)


@contextmanager
def boot(connection: Any, plan: BootPlan) -> Iterator[LibvirtBooting]:
    """Check what can be checked before anything is made; undo what is made unless the machine has been started.

    Raises RefusedError or UsageError.
    """
    check_name(connection, plan.machine.name)
    blueprint = draw(plan)
    fit(connection, blueprint.rewritten)
    check_networks(connection, blueprint.rewritten)
    with until_started(connection, plan, blueprint, _remove_domain) as machine:
        yield machine


@contextmanager
def until_started(
    connection: Any, plan: BootPlan, blueprint: Blueprint, take_back: Callable[[Any], None]
) -> Iterator[LibvirtBooting]:
    """What is made within is undone, unless the machine has been started. Raises RefusedError if a file exists."""
    require_new(blueprint.files)
    with ExitStack() as undo:
        machine = LibvirtBooting(connection, plan, blueprint, take_back, undo)
        try:
            yield machine
        finally:
            if machine.is_started:
                undo.pop_all()


def draw(plan: BootPlan) -> Blueprint:
    """What is to be made. Raises RefusedError or UsageError for places and networks that cannot be."""
    machine = plan.machine
    overlays = place_disks(machine)
    nvram = place_variables(machine, overlays)
    rewritten = redraw(machine, overlays, nvram)
    checkpoint = new_checkpoint_name(plan.owner)
    run_from_backup(rewritten.xml, plan.identity, plan.origin, checkpoint, overlays)
    list_files(rewritten.xml, [*rewritten.files.values(), *([nvram] if nvram else [])])
    return Blueprint(rewritten=rewritten, checkpoint=checkpoint, overlays=overlays, nvram=nvram)


def _remove_domain(domain: Any) -> None:
    with asking(f"remove {domain.name()}", hint=hint_of_files_left(domain.name())):
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(UNDEFINE)


def hint_of_files_left(name: str) -> str:
    """What to do where a domain cannot be taken back, and the files that it may run on were left."""
    return f"it may run, and its files were left: once libvirt answers, `holdfast mount remove {name}` removes them"
