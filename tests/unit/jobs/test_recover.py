"""Bringing disks and machines back: exact bytes, or nothing that looks whole."""

from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import FailedError, FullError, HoldfastError, NotFoundError, RefusedError
from holdfast.core.point import RestorePoint
from holdfast.core.selection import select_disk
from holdfast.jobs.recover import NewMachine, recover_disk, recover_machine
from holdfast.repository import Repository
from tests.unit.jobs.memory import Faults, MemoryPlatform, MemoryTarget, Watcher
from tests.unit.jobs.test_protect import MIB, a_disk, a_repository, protect


def wanted(**changes: Any) -> NewMachine:
    request: dict[str, Any] = {
        "name": "web-restored", "storage": {"": Path("/new")}, "networks": {"lan": "lab"}, "start": False,
        "agent_timeout_s": 60.0,
    }  # fmt: skip
    return NewMachine(**{**request, **changes})


def protected(platform: MemoryPlatform, **machine: Any) -> tuple[Repository, RestorePoint]:
    repository = a_repository()
    platform.add("web", {"vda": a_disk(), "vdb": a_disk(4 * MIB, fill=2)}, **machine)
    protect(platform, "web", repository)
    return repository, repository.points()[-1]


def test_a_restored_machine_has_the_points_disks_and_definition() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform, nvram=b"variables")
    result = recover_machine(repository, point, platform, wanted(), progress=Watcher())
    old, new = platform.owned
    assert new.disks == old.disks
    assert (new.definition, new.nvram) == (b"<domain/>", b"variables")
    assert (result.point, result.machine, result.machine_id) == (point.id, "web", old.id)
    assert (result.output, result.restored_id) == ("web-restored", new.id)
    assert [(disk.name, disk.output) for disk in result.disks] == [("vda", "/new/vda"), ("vdb", "/new/vdb")]
    assert result.written_bytes == 6 * MIB
    assert (result.started, result.seconds_to_agent, new.started) == (False, None, False)


def test_the_platform_is_told_sizes_formats_storage_and_networks() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    recover_machine(repository, point, platform, wanted(), progress=Watcher())
    plan = platform.plans[0]
    assert [(disk.name, disk.size_bytes, disk.format) for disk in plan.disks] == [
        ("vda", 8 * MIB, "qcow2"),
        ("vdb", 4 * MIB, "qcow2"),
    ]
    assert (plan.storage, plan.networks, plan.nvram) == ({"": Path("/new")}, {"lan": "lab"}, None)


def test_a_machine_that_is_to_start_is_started_and_its_agent_waited_for() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    result = recover_machine(repository, point, platform, wanted(start=True), progress=Watcher())
    assert platform.owned[-1].started
    assert (result.started, result.seconds_to_agent, result.warnings) == (True, 2.5, ())


@pytest.mark.parametrize(("had_agent", "warnings"), [(True, 1), (False, 0)])
def test_a_silent_agent_is_a_warning_only_if_the_machine_had_one(had_agent: bool, warnings: int) -> None:  # noqa: FBT001
    platform = MemoryPlatform()
    repository, point = protected(platform, agent=had_agent)
    platform.agent_answers_after_s = None
    result = recover_machine(repository, point, platform, wanted(start=True), progress=Watcher())
    assert result.seconds_to_agent is None
    assert len(result.warnings) == warnings


def test_what_will_not_be_as_it_was_is_told_and_kept_in_the_result() -> None:
    platform, watcher = MemoryPlatform(), Watcher()
    repository, point = protected(platform)
    platform.restore_warnings = ("its TPM state is not in the point",)
    result = recover_machine(repository, point, platform, wanted(), progress=watcher)
    assert watcher.warnings == list(result.warnings) == ["its TPM state is not in the point"]


def test_a_machine_that_does_not_start_is_still_whole_and_the_error_says_so() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    platform.faults.at_start = FailedError("no such bridge", hint="make it")
    with pytest.raises(FailedError, match="restored and defined, but does not start: no such bridge"):
        recover_machine(repository, point, platform, wanted(start=True), progress=Watcher())
    assert platform.owned[-1].disks == platform.owned[0].disks


def test_a_write_that_fails_leaves_no_machine_and_no_disk() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    platform.faults.during_write = FullError("/new/vda: no space")
    with pytest.raises(FullError):
        recover_machine(repository, point, platform, wanted(), progress=Watcher())
    assert [machine.name for machine in platform.owned] == ["web"]
    assert {target.state for target in platform.made[0].targets.values()} == {"abandoned"}


@pytest.mark.parametrize(
    ("change", "definition", "error"),
    [({"storage": {"vdz": Path("/x")}}, b"<domain/>", NotFoundError), ({}, None, RefusedError)],
)
def test_what_cannot_become_a_machine_is_refused_before_anything_is_made(
    change: dict[str, Any], definition: bytes | None, error: type[HoldfastError]
) -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform, definition=definition)
    with pytest.raises(error) as caught:
        recover_machine(repository, point, platform, wanted(**change), progress=Watcher())
    assert caught.value.hint
    assert platform.plans == []


def test_a_restored_disk_is_exact_and_finished() -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    target = MemoryTarget(output="/out.raw", size_bytes=4 * MIB, faults=Faults())
    result = recover_disk(repository, point, select_disk(point, "vdb"), target, progress=Watcher())
    assert target.content == platform.owned[0].disks["vdb"]
    assert target.state == "finished"
    assert (result.output, result.restored_id, result.started) == ("/out.raw", None, False)
    assert result.written_bytes == 2 * MIB


class Stop(BaseException):
    """Like an interrupt: no ordinary error."""


@pytest.mark.parametrize("fault", [FullError("no space"), Stop()])
def test_a_disk_that_is_not_whole_is_abandoned_whatever_ended_it(fault: BaseException) -> None:
    platform = MemoryPlatform()
    repository, point = protected(platform)
    target = MemoryTarget(output="/out.raw", size_bytes=8 * MIB, faults=Faults(during_write=fault))
    with pytest.raises((FullError, Stop)):
        recover_disk(repository, point, select_disk(point, "vda"), target, progress=Watcher())
    assert target.state == "abandoned"
