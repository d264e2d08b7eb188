"""A domain that runs from backup in its own place: overlays stand in for its disks, which stay as they are.

Only its definition changes. It says itself what it had before, so that all of it can be given back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from holdfast.core.boot import BootPlan
from holdfast.core.errors import RefusedError
from holdfast.platforms.libvirt.boot import Blueprint, LibvirtBooting, hint_of_files_left, until_started
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.checkpoints import Checkpoints
from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.libvirt.marks import new_checkpoint_name
from holdfast.platforms.libvirt.on_backup import list_files, read_origin, remember, run_from_backup, without_stand_ins
from holdfast.platforms.libvirt.recreate import place_disks, place_variables
from holdfast.platforms.libvirt.rewrite import Rewritten, give_new_image, give_new_variables
from holdfast.platforms.libvirt.standing import require_off

_DEFINITION = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@contextmanager
def stand_in(connection: Any, domain: Any, plan: BootPlan) -> Iterator[LibvirtBooting]:
    """Check what can be checked first; unless the domain has been started, it is as it was afterwards.

    Raises RefusedError.
    """
    require_off(domain)
    with asking(f"read the definition of {domain.name()}"):
        before = domain.XMLDesc(_DEFINITION)
    blueprint = _draw(plan, parse(before))

    def take_back(made: Any) -> None:
        with asking(f"give {domain.name()} its disks back", hint=hint_of_files_left(domain.name())):
            if made.isActive() and read_origin(parse(made.XMLDesc())) is not None:
                made.destroy()  # not one that somebody started with its own disks meanwhile
            made.connect().defineXML(before)
        Checkpoints(made, [], plan.owner).forget(blueprint.checkpoint)

    with until_started(connection, plan, blueprint, take_back) as machine:
        yield machine


def give_back(domain: Any, checkpoint: str) -> None:
    """Let a domain that is off have what it had before; the marks called `checkpoint` go with the overlays."""
    with asking(f"give {domain.name()} its disks back"):
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove()  # its memory is that of a machine with other disks
        domain.connect().defineXML(without_stand_ins(domain.XMLDesc(_DEFINITION)))
    Checkpoints(domain, [], "").forget(checkpoint)


def _draw(plan: BootPlan, definition: ET.Element) -> Blueprint:
    """The definition with overlays instead of its disks. Raises RefusedError."""
    born = f"{plan.machine.name}-{plan.origin.born_at:%Y%m%dT%H%M%S}"
    newborn = replace(plan.machine, name=born, definition=ET.tostring(definition))
    overlays = place_disks(newborn)
    drawn = Rewritten(xml=definition)
    former = [*_replace_disks(drawn, plan, overlays)]
    nvram = definition.find("os/nvram")
    variables = None if nvram is None else place_variables(newborn, overlays)
    if nvram is not None and variables is not None:
        former.append(deepcopy(nvram))
        give_new_variables(nvram, variables)
    checkpoint = new_checkpoint_name(plan.owner)
    run_from_backup(definition, plan.identity, plan.origin, checkpoint, overlays)
    remember(definition, former)
    list_files(definition, [variables] if variables else [])
    return Blueprint(rewritten=drawn, checkpoint=checkpoint, overlays=overlays, nvram=variables)


def _replace_disks(drawn: Rewritten, plan: BootPlan, overlays: dict[str, Path]) -> Iterator[ET.Element]:
    """Put the overlays in; what was there before. Raises RefusedError if a disk is not there any more."""
    elements = {
        target.get("dev", ""): disk
        for disk in drawn.xml.iterfind("devices/disk")
        if (target := disk.find("target")) is not None and disk.get("device", "disk") == "disk"
    }
    for disk in plan.machine.disks:
        element = elements.pop(disk.name, None)
        if element is None:
            raise RefusedError(
                f"{plan.machine.name} has no disk {disk.name} any more",
                hint="boot the point beside it: --name NEW",
                code="no-such-disk",
            )
        yield deepcopy(element)
        give_new_image(element, disk, overlays[disk.name], drawn)
    drawn.warnings += [
        f"disk {name} is not part of the point: {plan.machine.name} goes on writing onto the one that it has"
        for name in elements
    ]
