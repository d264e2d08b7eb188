"""A machine as a platform shows it: identity, state and disks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MachineState = Literal["running", "off", "paused"]
Tracking = Literal["ok", "none", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskInfo:
    """One disk of a machine as listed. `tracking` says whether changed blocks can be told from the last point."""

    name: str
    path: str
    format: str
    size_bytes: int
    allocated_bytes: int
    tracking: Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineInfo:
    """One machine as listed. `id` is the platform's lasting identity; `name` is a label."""

    id: str
    name: str
    state: MachineState
    agent: bool
    disks: tuple[DiskInfo, ...]


DiskBus = Literal["virtio", "scsi", "sata", "ide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineShape:
    """What another hypervisor must know to make a machine like this one. Buses are by disk, networks by name."""

    name: str
    cpus: int
    memory_mib: int
    efi: bool
    buses: Mapping[str, DiskBus]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a machine is to be of which only the disks are known."""

    memory_bytes: int
    cpus: int
    efi: bool
    emulated: bool
