"""A real guest through the command line: listed, protected twice while it runs, brought back and asked what it has."""

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.command import Site
from tests.e2e.test_cli_images import RESTORED, RESULT
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A guest with two points; it wrote `one` before the first and `two` before the second."""

    site: Site
    lab: Lab
    guest: Guest
    first: dict[str, Any]
    second: dict[str, Any]


@pytest.fixture(scope="module")
def protected(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    site = Site(home=tmp_path_factory.mktemp("site"), environment={"HOLDFAST_CONNECT": lab.host.uri})
    site.create()
    guest = lab.boot_from_disk("cli", [lab.system_disk("cli")])
    results = []
    for word in ("one", "two"):
        guest.run(f"echo {word} >/{word}; sync")
        done = site.run("backup", "cli", "--json")
        assert done.status == 0, done.err
        results += done.end["results"]
    first, second = results
    yield Protected(site=site, lab=lab, guest=guest, first=first, second=second)
    guest.forget()


def test_machines_are_listed_with_what_the_contract_promises(protected: Protected) -> None:
    listed = protected.site.run("machine", "list", "--json").value
    (machine,) = [each for each in listed if each["name"] == "cli"]
    assert set(machine) == {"id", "name", "state", "agent", "disks"}
    assert (machine["id"], machine["state"], machine["agent"]) == (protected.guest.uuid, "running", True)
    (disk,) = machine["disks"]
    assert set(disk) == {"name", "path", "format", "size_bytes", "allocated_bytes", "tracking"}
    assert (disk["name"], disk["format"], disk["size_bytes"], disk["tracking"]) == ("vda", "qcow2", 256 << 20, "ok")
    assert 0 < disk["allocated_bytes"] <= 256 << 20
    assert re.search(
        rf"^cli +running +yes +vda +256\.0 MiB +ok +{protected.guest.uuid}$", table(protected), re.MULTILINE
    )


def table(protected: Protected) -> str:
    return protected.site.run("machine", "list", "--connect", protected.lab.host.uri).out


def test_a_quiet_second_backup_reads_what_changed_and_says_how_long_the_guest_stood_still(protected: Protected) -> None:
    first, second = protected.first, protected.second
    for result in (first, second):
        assert set(result) == RESULT
        assert (result["machine_id"], result["consistency"], result["warnings"]) == (
            protected.guest.uuid,
            "filesystem",
            [],
        )
        assert 0 < result["freeze_ms"] < 5000
    assert (first["capture"], second["capture"]) == ("full", "incremental")
    assert 0 < second["read_bytes"] < first["read_bytes"] / 4
    assert first["captured_at"] < second["captured_at"]


def test_a_point_of_a_machine_names_its_definition(protected: Protected) -> None:
    point = protected.site.run("point", "show", protected.second["point"], "--json").value
    assert re.fullmatch(r"[0-9a-f]{64}", point["definition"]["xml"])
    assert (point["parent"], point["consistency"]) == (protected.first["point"], "filesystem")


def test_one_machine_that_is_not_there_does_not_cost_the_other_its_point(protected: Protected) -> None:
    done = protected.site.run("backup", "nobody", protected.guest.uuid, "--json")
    assert (done.status, done.end["state"], done.error["kind"]) == (4, "failed", "notfound")
    missing, made = done.end["results"]
    assert (missing["machine"], missing["point"], missing["error"]) == ("nobody", None, done.error)
    assert (made["machine"], made["capture"]) == ("cli", "incremental")
    assert made["point"] in {point["id"] for point in protected.site.run("point", "list", "--json").value}


@pytest.mark.parametrize(("rank", "files"), [("first", "one\n"), ("second", "one\ntwo\n")])
def test_each_point_comes_back_as_a_running_machine_of_its_own(protected: Protected, rank: str, files: str) -> None:
    point = getattr(protected, rank)["point"]
    name = f"again-{rank}"
    storage = protected.lab.directory / name
    storage.mkdir()
    done = protected.site.run(
        "restore", "machine", f"cli@{point}", "--name", name, "--storage", storage, "--start", "--json"
    )
    assert done.status == 0, done.err
    (result,) = done.end["results"]
    assert set(result) >= RESTORED
    guest = protected.lab.find(name)
    try:
        assert (result["point"], result["machine_id"]) == (point, protected.guest.uuid)
        assert (result["output"], result["restored_id"], result["started"]) == (name, guest.uuid, True)
        assert 0 < result["seconds_to_agent"] < 120
        assert result["warnings"] == []
        assert all(disk["output"].startswith(str(storage)) for disk in result["disks"])
        assert guest.uuid != protected.guest.uuid
        assert guest.run("cat /one /two 2>/dev/null; true") == files
    finally:
        guest.forget()


def test_an_interrupted_backup_thaws_the_guest_and_costs_the_next_one_nothing(protected: Protected) -> None:
    before = protected.site.run("point", "list", "--json").value
    checkpoints = protected.guest.domain.listAllCheckpoints()
    process = protected.site.start("backup", "cli", "--json", "--verify-share", "100")
    assert process.stdout is not None
    first_words = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert json.loads((first_words + out).splitlines()[-1])["exit"] == 143
    assert protected.guest.agent("guest-fsfreeze-status") == "thawed"
    assert protected.site.run("point", "list", "--json").value == before
    left = protected.guest.domain.listAllCheckpoints()
    assert [each.getName() for each in left] == [each.getName() for each in checkpoints]
    (result,) = protected.site.run("backup", "cli", "--json").end["results"]
    assert (result["capture"], result["consistency"]) == ("incremental", "filesystem")


def test_a_machine_is_never_restored_over_another(protected: Protected) -> None:
    done = protected.site.run("restore", "machine", "cli@latest", "--name", "cli", "--json")
    assert (done.status, done.error["kind"], done.end["results"]) == (6, "refused", [])
    assert protected.guest.run("cat /one") == "one\n"


def test_a_disk_that_the_point_has_not_is_named_before_anything_is_made(protected: Protected) -> None:
    done = protected.site.run("restore", "machine", "cli@latest", "--name", "x", "--storage", "vdz=/nowhere", "--json")
    assert (done.status, done.error["kind"]) == (4, "notfound")
    assert "did you mean vda" in done.error["hint"]


def test_a_hypervisor_that_does_not_answer_is_unreachable(protected: Protected) -> None:
    for arguments in (("machine", "list"), ("backup", "cli")):
        done = protected.site.run(*arguments, "--connect", "qemu+unix:///system?socket=/no/such/socket", "--json")
        assert (done.status, done.error["kind"]) == (7, "unreachable")
        assert done.error["hint"]


def test_doctor_says_whether_the_hypervisor_answers(protected: Protected) -> None:
    checks = {check["name"]: check for check in protected.site.run("doctor", "--json").value["checks"]}
    assert checks["hypervisor"]["ok"]
    sick = protected.site.run("doctor", "--json", "--connect", "qemu+unix:///system?socket=/no/such/socket")
    assert sick.status == 8
