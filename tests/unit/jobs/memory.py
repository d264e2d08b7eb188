"""A hypervisor in memory: machines whose disks are byte arrays, with marks, captures and restores that keep the ports'
promises. It records what it was asked, and fails where a test tells it to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from holdfast.core.errors import FailedError, HoldfastError, NotFoundError, RefusedError, UsageError
from holdfast.core.extents import Extent, normalise
from holdfast.core.machine import DiskInfo, MachineInfo
from holdfast.core.point import CaptureKind, Consistency
from holdfast.core.ports import (
    Baseline,
    BlockReader,
    BlockWriter,
    Capture,
    CaptureOptions,
    MachinePlan,
    TargetDisk,
    TargetMachine,
)
from holdfast.core.progress import Progress

BLOCK = 4096


@dataclass(slots=True, kw_only=True)
class Machine:
    id: str
    name: str
    disks: dict[str, bytearray]
    definition: bytes | None = b"<domain/>"
    nvram: bytes | None = None
    agent: bool = True
    starts_after_s: float | None = 2.5
    started: bool = False
    snapshots: dict[str, dict[str, bytes]] = field(default_factory=dict)  # mark -> disks as of then


@dataclass(slots=True, kw_only=True)
class Faults:
    """What goes wrong, where a test wants it."""

    during_read: BaseException | None = None
    at_confirm: HoldfastError | None = None
    at_start: HoldfastError | None = None
    during_write: BaseException | None = None


class MemoryReader:
    def __init__(self, content: bytes, faults: Faults) -> None:
        self._content = content
        self._faults = faults

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._faults.during_read is not None:
            raise self._faults.during_read
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class MemoryDisk:
    name: str
    content: bytes
    before: bytes | None
    mark: dict[str, Any] | None
    faults: Faults
    format: str = "qcow2"

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def capture(self) -> CaptureKind:
        return "full" if self.before is None else "incremental"

    @property
    def reason(self) -> str:
        return "no mark" if self.before is None else "changed since the mark"

    def data(self) -> list[Extent]:
        return self._blocks(lambda offset: any(self.content[offset : offset + BLOCK]))

    def changes(self) -> list[Extent] | None:
        before = self.before
        if before is None:
            return None
        return self._blocks(lambda offset: before[offset : offset + BLOCK] != self.content[offset : offset + BLOCK])

    def open_reader(self) -> BlockReader:
        return MemoryReader(self.content, self.faults)

    def _blocks(self, wanted: Callable[[int], bool]) -> list[Extent]:
        size = self.size_bytes
        return normalise(Extent(at, min(at + BLOCK, size)) for at in range(0, size, BLOCK) if wanted(at))


@dataclass(kw_only=True)
class MemoryCapture:
    machine_object: Machine
    disks: Sequence[MemoryDisk]
    mark: str
    baseline_mark: str | None
    captured_at: datetime
    consistency: Consistency
    warnings: Sequence[str]
    faults: Faults
    settled: bool = False

    @property
    def machine(self) -> str:
        return self.machine_object.name

    @property
    def machine_id(self) -> str:
        return self.machine_object.id

    @property
    def freeze_ms(self) -> float | None:
        return 12.34 if self.consistency == "filesystem" else None

    @property
    def definition(self) -> bytes | None:
        return self.machine_object.definition

    @property
    def nvram(self) -> bytes | None:
        return self.machine_object.nvram

    def confirm(self) -> None:
        if self.faults.at_confirm is not None:
            raise self.faults.at_confirm

    def settle(self) -> Sequence[str]:
        self.settled = True
        if self.baseline_mark is not None:
            del self.machine_object.snapshots[self.baseline_mark]
        return ()


@dataclass(kw_only=True)
class MemoryTarget:
    output: str
    size_bytes: int
    faults: Faults
    content: bytearray = field(default_factory=bytearray)
    state: str = "open"

    def __post_init__(self) -> None:
        self.content = bytearray(self.size_bytes)

    left_over = None

    def reserve(self, extents: Sequence[Extent]) -> None:
        assert all(extent.end <= self.size_bytes for extent in extents)

    def open_writer(self) -> BlockWriter:
        return MemoryWriter(self)

    def finish(self) -> None:
        self.state = "finished"

    def abandon(self) -> None:
        self.state = "abandoned"


class MemoryWriter:
    def __init__(self, target: MemoryTarget) -> None:
        self._target = target

    def write(self, offset: int, *pieces: memoryview) -> None:
        if self._target.faults.during_write is not None:
            raise self._target.faults.during_write
        buffer = b"".join(pieces)
        self._target.content[offset : offset + len(buffer)] = buffer

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class MemoryTargetMachine:
    platform: "MemoryPlatform"
    plan: MachinePlan
    targets: dict[str, MemoryTarget]
    machine: Machine | None = None
    warnings: Sequence[str] = ()

    @property
    def disks(self) -> Mapping[str, TargetDisk]:
        return self.targets

    def define(self) -> str:
        assert all(target.state == "finished" for target in self.targets.values())
        self.machine = self.platform.add(
            self.plan.name,
            {name: target.content for name, target in self.targets.items()},
            definition=self.plan.definition,
            nvram=self.plan.nvram,
        )
        return self.machine.id

    def start(self) -> None:
        if self.platform.faults.at_start is not None:
            raise self.platform.faults.at_start
        assert self.machine is not None
        self.machine.started = True

    def wait_for_agent(self, timeout_s: float) -> float | None:
        answers = self.platform.agent_answers_after_s
        return answers if answers is not None and answers <= timeout_s else None


class MemoryPlatform:
    """A hypervisor that a test owns."""

    def __init__(self) -> None:
        self.owned: list[Machine] = []
        self.faults = Faults()
        self.baselines: list[Baseline | None] = []
        self.plans: list[MachinePlan] = []
        self.made: list[MemoryTargetMachine] = []
        self.agent_answers_after_s: float | None = 2.5
        self.restore_warnings: Sequence[str] = ()
        self._marks = 0

    def add(self, name: str, disks: dict[str, bytearray], **more: Any) -> Machine:
        machine = Machine(id=str(UUID(int=len(self.owned) + 1)), name=name, disks=disks, **more)
        self.owned.append(machine)
        return machine

    def machines(self) -> Sequence[MachineInfo]:
        return [
            MachineInfo(
                id=machine.id,
                name=machine.name,
                state="running",
                agent=machine.agent,
                disks=tuple(
                    DiskInfo(
                        name=name, path="", format="qcow2", size_bytes=len(content), allocated_bytes=0, tracking="ok"
                    )
                    for name, content in machine.disks.items()
                ),
            )
            for machine in sorted(self.owned, key=lambda machine: machine.name)
        ]

    def find(self, machine: str) -> str:
        ids = [each.id for each in self.owned if machine in {each.id, each.name}]
        if not ids:
            raise NotFoundError(f"no machine {machine!r}", hint="holdfast machine list")
        if len(ids) > 1:
            raise UsageError(f"{machine!r} is {' and '.join(ids)}", hint="name it by its id")
        return ids[0]

    @contextmanager
    def capture(
        self, machine_id: str, baseline: Baseline | None, options: CaptureOptions, progress: Progress
    ) -> Iterator[Capture]:
        machine = next(each for each in self.owned if each.id == machine_id)
        self.baselines.append(baseline)
        if not machine.agent and options.require_quiesce:
            raise RefusedError("no agent", hint="leave out --require-quiesce")
        mark, old = self._new_mark(machine), _usable_mark(machine, baseline)
        before = machine.snapshots[old] if old else {}
        captured = MemoryCapture(
            machine_object=machine,
            disks=[
                MemoryDisk(
                    name=name, content=content, before=before.get(name), mark={"snapshot": mark}, faults=self.faults
                )
                for name, content in machine.snapshots[mark].items()
            ],
            mark=mark,
            baseline_mark=old,
            captured_at=datetime.now(UTC),
            consistency="filesystem" if machine.agent else "crash",
            warnings=() if machine.agent else ("no guest agent: the point is crash-consistent",),
            faults=self.faults,
        )
        try:
            yield captured
        finally:
            if not captured.settled:
                del machine.snapshots[mark]

    @contextmanager
    def recreate(self, plan: MachinePlan) -> Iterator[TargetMachine]:
        self.plans.append(plan)
        if any(machine.name == plan.name for machine in self.owned):
            raise RefusedError(f"{plan.name} exists", hint="choose another --name")
        targets = {
            disk.name: MemoryTarget(output=f"/new/{disk.name}", size_bytes=disk.size_bytes, faults=self.faults)
            for disk in plan.disks
        }
        made = MemoryTargetMachine(platform=self, plan=plan, targets=targets, warnings=self.restore_warnings)
        self.made.append(made)
        try:
            yield made
        finally:
            if made.machine is None:
                for target in targets.values():
                    target.abandon()

    def _new_mark(self, machine: Machine) -> str:
        self._marks += 1
        machine.snapshots[f"mark-{self._marks}"] = {name: bytes(disk) for name, disk in machine.disks.items()}
        return f"mark-{self._marks}"


def _usable_mark(machine: Machine, baseline: Baseline | None) -> str | None:
    if baseline is None:
        return None
    marks = {mark["snapshot"] if mark else None for mark in baseline.marks.values()}
    mark = marks.pop()
    same_disks = set(baseline.sizes.items()) == {(name, len(content)) for name, content in machine.disks.items()}
    return mark if not marks and mark in machine.snapshots and same_disks else None


class Watcher:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        if done_bytes < 0 or total_bytes < 0:
            raise FailedError("progress runs forwards")

    def warning(self, text: str) -> None:
        self.warnings.append(text)
