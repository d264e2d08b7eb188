"""Plain images through the command line: protect, list, restore, and every way it can be told that something is wrong.

The oracle is a copy of each image, taken when it was backed up.
"""

import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.repository import LocalDirectory, open_repository
from tests.e2e.command import PASSPHRASE, Site
from tests.support.disks import whole
from tests.support.repositories import back_up_disks

MIB = 1 << 20

RESULT = {
    "machine", "machine_id", "point", "repository", "captured_at", "consistency", "freeze_ms", "seconds", "read_bytes",
    "proved_bytes", "sent_bytes", "stored_bytes", "capture", "disks", "locked_until", "warnings",
}  # fmt: skip
POINT = {
    "id", "machine", "machine_id", "created_at", "captured_at", "consistency", "parent", "disks", "definition", "state",
    "repository",
}  # fmt: skip
INFO = {
    "id", "url", "format", "features", "machines", "points", "plain_bytes", "stored_bytes", "packs", "log_position",
    "locks",
}  # fmt: skip
RESTORED = {
    "point", "machine", "machine_id", "output", "read_bytes", "written_bytes", "seconds", "started", "seconds_to_agent",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A repository with two points of one machine, and what its disks were at each."""

    site: Site
    first: dict[str, Any]
    second: dict[str, Any]
    raw: tuple[bytes, bytes]  # the raw disk's bytes at the first and the second point
    qcow2: bytes  # the qcow2 disk's, which did not change


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    site = Site(home=tmp_path_factory.mktemp("site"))
    raw, flat, cow = site.home / "disk.raw", site.home / "flat", site.home / "data.qcow2"
    write_disk(raw, 24 * MIB + 512, seed=1)
    write_disk(flat, 16 * MIB, seed=2)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", flat, cow], check=True)
    site.create()
    before = raw.read_bytes()
    first = site.back_up("nas", f"system={raw}", cow)
    with raw.open("r+b") as file:
        file.seek(5 * MIB + 17)
        file.write(random.Random(3).randbytes(300_000))
    second = site.back_up("nas", f"system={raw}", cow)
    yield Protected(site=site, first=first, second=second, raw=(before, raw.read_bytes()), qcow2=flat.read_bytes())
    shutil.rmtree(site.home)


def write_disk(path: Path, size: int, *, seed: int) -> None:
    """A sparse file with seeded pieces, some of them compressible, at odd offsets."""
    source = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for _ in range(20):
            length = source.randrange(1, 200_000)
            file.seek(source.randrange(0, size - length))
            file.write(source.randbytes(length) if source.random() < 0.5 else source.randbytes(7) * (length // 7))


def a_time(text: str) -> datetime:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text)
    return datetime.fromisoformat(text)


def test_a_new_repository_describes_itself(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    info = site.run("--json", "repository", "create").value
    assert set(info) == INFO
    assert re.fullmatch(r"[0-9a-f]{32}", info["id"])
    assert (info["machines"], info["points"], info["packs"], info["plain_bytes"]) == (0, 0, 0, 0)
    assert site.run("repository", "info", "--json").value == info
    assert site.run("point", "list", "--json").value == []


def test_a_repository_is_made_neither_over_something_nor_under_nothing(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.repository.mkdir()
    (site.repository / "mine").write_text("mine")
    refused = site.run("repository", "create", "--json")
    assert (refused.status, refused.error["kind"], refused.out) == (6, "refused", "")
    assert [path.name for path in site.repository.iterdir()] == ["mine"]
    missing = site.run("repository", "create", "--json", "--repository", tmp_path / "no" / "where")
    assert (missing.status, missing.error["kind"]) == (4, "notfound")


def test_an_empty_passphrase_makes_no_repository(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    refused = site.run("repository", "create", "--json", HOLDFAST_PASSPHRASE="")
    assert (refused.status, refused.error["code"]) == (2, "empty-passphrase")
    assert not site.repository.exists()


def test_a_backup_says_what_the_contract_promises(protected: Protected) -> None:
    for result in (protected.first, protected.second):
        assert set(result) == RESULT
        assert (result["machine"], result["consistency"], result["freeze_ms"]) == ("nas", "crash", None)
        assert re.fullmatch(r"[0-9a-f]{16}", result["point"])
        assert abs(a_time(result["captured_at"]) - datetime.now(UTC)) < timedelta(hours=1)
        assert [disk["name"] for disk in result["disks"]] == ["system", "data"]
        for disk in result["disks"]:
            assert set(disk) == {"name", "capture", "reason", "size_bytes", "read_bytes"}
        assert [disk["size_bytes"] for disk in result["disks"]] == [24 * MIB + 512, 16 * MIB]
        assert sum(disk["read_bytes"] for disk in result["disks"]) == result["read_bytes"]
        assert result["warnings"] == []


def test_a_second_backup_sends_only_what_the_repository_lacks(protected: Protected) -> None:
    assert protected.first["machine_id"] == protected.second["machine_id"]
    assert 300_000 <= protected.second["sent_bytes"] < 1_200_000
    assert protected.second["stored_bytes"] < protected.first["stored_bytes"]


def test_points_are_listed_by_capture_with_what_the_contract_promises(protected: Protected) -> None:
    points = protected.site.run("point", "list", "--json").value
    assert [point["id"] for point in points] == [protected.first["point"], protected.second["point"]]
    assert [point["parent"] for point in points] == [None, protected.first["point"]]
    info = protected.site.run("repository", "info", "--json").value
    for point in points:
        assert set(point) >= POINT
        assert (point["state"], point["repository"]) == ("live", info["id"])
        assert a_time(point["captured_at"]) < a_time(point["created_at"])
        assert point["definition"] == {"xml": None, "nvram": None}
        for disk in point["disks"]:
            assert set(disk) >= {"name", "size_bytes", "format", "capture", "root"}
            assert "mark" not in disk
        assert [disk["format"] for disk in point["disks"]] == ["raw", "qcow2"]
    assert (info["machines"], info["points"], info["plain_bytes"]) == (1, 2, 2 * (40 * MIB + 512))
    assert info["stored_bytes"] == sum(
        file.stat().st_size for file in protected.site.repository.rglob("*") if file.is_file()
    )


def test_a_point_is_shown_by_rank_time_machine_id_and_id(protected: Protected) -> None:
    first, second = (result["point"] for result in (protected.first, protected.second))
    for reference, point in (
        ("nas@latest", second),
        ("nas@latest-1", first),
        (f"nas@{protected.first['captured_at']}", first),
        (f"nas@{protected.second['captured_at']}", second),
        (f"{protected.first['machine_id']}@latest", second),
        (first[:6], first),
    ):
        shown = protected.site.run("point", "show", reference, "--json")
        assert shown.value["id"] == point, reference


def test_people_read_the_same_in_columns(protected: Protected) -> None:
    listed = protected.site.run("point", "list").out.splitlines()
    assert listed[0].split() == ["POINT", "MACHINE", "CAPTURED", "CONSISTENCY", "CAPTURE", "DISKS", "SIZE", "STATE"]
    assert [line.split()[0] for line in listed[1:]] == [protected.first["point"], protected.second["point"]]
    assert "40.0 MiB" in listed[1]
    shown = protected.site.run("point", "show", "nas@latest").out
    assert protected.second["point"] in shown
    assert re.search(r"^system +24\.0 MiB +raw +full", shown, re.MULTILINE)
    assert protected.site.run("point", "list", "nas").out.splitlines() == listed


@pytest.mark.parametrize("rank", [0, 1])
def test_every_point_restores_byte_for_byte(protected: Protected, tmp_path: Path, rank: int) -> None:
    point = (protected.first, protected.second)[rank]["point"]
    output = tmp_path / "out.raw"
    done = protected.site.run("restore", "disk", f"nas@{point}", "--disk", "system", "--output", output, "--json")
    assert output.read_bytes() == protected.raw[rank]
    assert (done.status, done.err, done.end["state"], done.end["exit"]) == (0, "", "done", 0)
    (result,) = done.end["results"]
    assert set(result) >= RESTORED
    assert (result["point"], result["machine"], result["output"]) == (point, "nas", str(output))
    assert (result["started"], result["seconds_to_agent"]) == (False, None)
    assert {event["type"] for event in done.events[:-1]} <= {"progress", "step", "warning"}


@pytest.mark.parametrize(
    ("options", "suffix"), [(("--format", "qcow2"), "img"), ((), "qcow2"), (("--format", "raw"), "raw")]
)
def test_a_disk_restores_into_either_format(
    protected: Protected, tmp_path: Path, options: tuple[str, ...], suffix: str
) -> None:
    output = tmp_path / f"out.{suffix}"
    done = protected.site.run("restore", "disk", "nas@latest", "--disk", "data", "--output", output, *options)
    assert done.status == 0, done.err
    flat = tmp_path / "flat"
    image_format = "raw" if suffix == "raw" else "qcow2"
    subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", output, flat], check=True)
    assert flat.read_bytes() == protected.qcow2


def test_a_restore_is_as_thin_as_the_source(protected: Protected, tmp_path: Path) -> None:
    protected.site.run("restore", "disk", "nas@latest", "--disk", "system", "--output", tmp_path / "out")
    used = (tmp_path / "out").stat().st_blocks * 512
    assert used <= (protected.site.home / "disk.raw").stat().st_blocks * 512 + 64 * 4096


def test_nothing_is_ever_overwritten(protected: Protected, tmp_path: Path) -> None:
    output = tmp_path / "precious"
    output.write_text("precious")
    done = protected.site.run("restore", "disk", "nas@latest", "--disk", "system", "--output", output, "--json")
    assert (done.status, done.error["kind"]) == (6, "refused")
    assert done.end == {"type": "end", "state": "failed", "exit": 6, "results": []}
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (("restore", "disk", "nas@latest", "--output", "out"), 2, "usage"),
        (("restore", "disk", "nas@latest", "--disk", "sistem", "--output", "out"), 4, "notfound"),
        (("restore", "disk", "nsa@latest", "--disk", "system", "--output", "out"), 4, "notfound"),
        (("restore", "disk", "nas@latest-2", "--disk", "system", "--output", "out"), 4, "notfound"),
        (("restore", "disk", "nas@2001-01-01T00:00", "--disk", "system", "--output", "out"), 4, "notfound"),
        (("restore", "disk", "nas@ffffffffffffffff", "--disk", "system", "--output", "out"), 4, "notfound"),
        (("restore", "disk", "nas@tomorrow", "--disk", "system", "--output", "out"), 2, "usage"),
        (("restore", "disk", "nas@latest", "--disk", "system", "--output", "no/dir/out"), 4, "notfound"),
        (("point", "show", "nsa@latest"), 4, "notfound"),
        (("point", "list", "nsa"), 4, "notfound"),
        (("backup", "--name", "nas", "--image", "missing.raw"), 4, "notfound"),
        (("repository", "info", "--repository", "ftp://bucket"), 2, "usage"),
        (("repository", "info", "--repository", "nowhere"), 4, "notfound"),
    ],
)
def test_what_is_not_there_is_named_with_a_hint(
    protected: Protected, arguments: tuple[str, ...], status: int, kind: str
) -> None:
    done = protected.site.run(*arguments, "--json")
    assert (done.status, done.error["kind"]) == (status, kind)
    assert done.error["message"]
    assert done.error["hint"]
    if arguments[0] in {"restore", "backup"}:
        assert done.end["state"] == "failed"
    assert not list(protected.site.home.glob("out*"))


def test_a_near_miss_is_answered_with_the_right_name(protected: Protected) -> None:
    done = protected.site.run("restore", "disk", "nas@latest", "--disk", "sistem", "--output", "out")
    assert done.err.splitlines() == [
        f"error: point {protected.second['point']} of nas has no disk 'sistem'",
        "  hint: did you mean system?",
    ]
    assert "did you mean nas?" in protected.site.run("point", "show", "nsa@latest").err


def test_a_wrong_passphrase_opens_nothing(protected: Protected) -> None:
    for arguments in (("point", "list"), ("repository", "check"), ("backup", "--name", "nas", "--image", "disk.raw")):
        done = protected.site.run(*arguments, "--json", HOLDFAST_PASSPHRASE="wrong")
        assert (done.status, done.error["kind"]) == (5, "denied")
        assert "wrong" not in done.error["message"].split()
    assert len(protected.site.run("point", "list", "--json").value) == 2


def test_what_is_missing_is_asked_for_by_option_and_variable(protected: Protected) -> None:
    done = protected.site.run("point", "list", HOLDFAST_REPOSITORY=None)
    assert done.status == 2
    assert done.err.splitlines() == [
        "error: no repository given",
        "  hint: give --repository URL or set HOLDFAST_REPOSITORY",
    ]
    assert "--passphrase-file" in protected.site.run("point", "list", HOLDFAST_PASSPHRASE=None).err


def test_each_way_to_give_the_passphrase_and_the_url_opens_the_same_repository(protected: Protected) -> None:
    site, file = protected.site, protected.site.home / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    expected = site.run("repository", "info", "--json").value
    for options, changes in (
        (("--passphrase-file", str(file)), {}),
        (("--passphrase-command", f"cat {file}"), {}),
        ((), {"HOLDFAST_PASSPHRASE_FILE": str(file)}),
        ((), {"HOLDFAST_PASSPHRASE_COMMAND": f"cat {file}"}),
    ):
        done = site.run("repository", "info", "--json", *options, **{"HOLDFAST_PASSPHRASE": None, **changes})
        assert done.value == expected, done.err
    by_url = site.run("repository", "info", "--json", "--repository", f"file://{site.repository}")
    assert by_url.value == expected


def test_a_whole_repository_is_checked_and_said_to_be_whole(protected: Protected) -> None:
    done = protected.site.run("repository", "check", "--json")
    (report,) = done.end["results"]
    assert (done.status, done.err, done.end["state"]) == (0, "", "done")
    assert set(report) == {
        "ok", "level", "proves", "objects", "read_bytes", "packs_read", "packs_resumed", "damage",
        "marks",
    }  # fmt: skip
    assert (report["ok"], report["level"], report["damage"]) == (True, "full", [])
    assert report["read_bytes"] > protected.first["stored_bytes"]


def test_damage_is_reported_by_the_check_and_never_restored_as_if_whole(protected: Protected, tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    shutil.copytree(protected.site.repository, site.repository)
    largest = max(site.repository.glob("packs/*/*"), key=lambda pack: pack.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.chmod(0o600)
    largest.write_bytes(content)

    checked = site.run("repository", "check", "--json")
    assert (checked.status, checked.error["kind"], checked.end["state"]) == (1, "damaged", "failed")
    (report,) = checked.end["results"]
    assert report["ok"] is False
    for damage in report["damage"]:
        assert set(damage) == {"object", "kind", "machine", "point", "disk", "offset", "length"}
    assert largest.name in report["damage"][0]["object"]
    assert largest.name in site.run("repository", "check").out

    output = tmp_path / "out.raw"
    failed = 0
    for disk, content in (("system", protected.raw[1]), ("data", protected.qcow2)):
        done = site.run(
            "restore", "disk", "nas@latest", "--disk", disk, "--output", output, "--format", "raw", "--json"
        )
        if done.status == 0:
            assert output.read_bytes() == content
            output.unlink()
        else:
            failed += 1
            assert (done.status, done.error["kind"], done.end["state"]) == (1, "damaged", "failed")
            assert not [path for path in tmp_path.glob("out*") if path.suffix != ".partial"]
    assert failed, "the flipped byte was in no disk's data"


def test_a_repository_put_back_to_an_older_copy_is_noticed_and_still_works(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    write_disk(tmp_path / "a.raw", MIB, seed=5)
    site.back_up("a", "a.raw")
    shutil.copytree(site.repository, tmp_path / "older")
    site.back_up("a", "a.raw")
    shutil.rmtree(site.repository)
    (tmp_path / "older").rename(site.repository)

    done = site.run("backup", "--name", "a", "--image", "a.raw", "--json")
    assert (done.status, done.end["state"]) == (3, "warnings")
    (warning,) = [event for event in done.events if event["type"] == "warning"]
    assert "rolled back" in warning["message"]
    assert done.end["results"][0]["point"]
    assert site.run("backup", "--name", "a", "--image", "a.raw").status == 0, "it is told once"


def test_a_listing_of_a_repository_put_back_says_so_beside_the_list(protected: Protected, tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    shutil.copytree(protected.site.repository, site.repository)
    site.back_up("late", protected.site.home / "disk.raw")
    assert site.run("point", "list", "late").err == ""
    max((site.repository / "log").iterdir()).unlink()
    done = site.run("point", "list", "--json")
    assert done.status == 0
    assert "late" not in {point["machine"] for point in done.value}
    assert "rolled back" in json.loads(done.err)["warning"]


def test_an_image_that_is_a_directory_or_rubbish_never_becomes_a_point(protected: Protected, tmp_path: Path) -> None:
    (tmp_path / "rubbish.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 600)
    before = protected.site.run("point", "list", "--json").value
    for image in (tmp_path, tmp_path / "rubbish.qcow2"):
        done = protected.site.run("backup", "--name", "bad", "--image", image, "--json")
        assert done.status not in {0, 3}
        assert "internal error" not in done.error["message"]
        assert done.end["state"] == "failed"
        (result,) = done.end["results"]
        assert (result["machine"], result["point"]) == ("bad", None)
        assert result["error"] == done.error
    assert protected.site.run("point", "list", "--json").value == before


def test_doctor_looks_at_the_repository_that_is_named(protected: Protected, tmp_path: Path) -> None:
    done = protected.site.run("doctor", "--json")
    assert set(done.value) == {"ok", "checks"}
    for check in done.value["checks"]:
        assert set(check) == {"name", "ok", "found", "needed", "remedy"}
    assert (done.status, done.value["ok"]) == (0, True)
    sick = protected.site.run("doctor", "--json", "--repository", tmp_path / "none")
    assert (sick.status, sick.value["ok"], sick.err) == (8, False, "")
    assert all(check["remedy"] for check in sick.value["checks"] if not check["ok"])


def test_a_restore_that_was_killed_is_resumed_without_fetching_again_what_is_there(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    image, output = site.home / "large.raw", site.home / "resumed.raw"
    image.write_bytes(random.Random(7).randbytes(16 * MIB))
    point = site.back_up("large", image)["point"]
    command = ["restore", "disk", point, "--output", output, "--resume", "--json"]
    killed = site.start(*command, "--limit-rate", "4MiB")
    draft = output.with_name("resumed.raw.partial")
    while not (draft.exists() and any(draft.read_bytes())):
        assert killed.poll() is None, killed.communicate()
    killed.kill()
    killed.communicate()
    assert not output.exists()
    done = site.run(*command)
    assert done.status == 0, done.err
    (result,) = done.end["results"]
    assert 0 < result["written_bytes"] < 16 * MIB
    assert result["read_bytes"] < 16 * MIB
    assert output.read_bytes() == image.read_bytes()
    assert not draft.exists()


def test_what_changed_between_two_points_is_shown_as_extents_as_a_strip_and_as_a_picture(protected: Protected) -> None:
    site, drawn = protected.site, protected.site.home / "changes.svg"
    points = [protected.first["point"], protected.second["point"]]
    difference = site.run("point", "diff", *points, "--json", "--picture", drawn).value
    assert set(difference) == {
        "before", "after", "machine", "machine_id", "captured_before_at", "captured_after_at", "disks",
    }  # fmt: skip
    system, data = difference["disks"]
    assert (system["change"], data["change"], data["extents"]) == ("changed", "same", [])
    before, after = (bytearray(content) for content in protected.raw)
    for extent in system["extents"]:
        place = slice(extent["offset"], extent["offset"] + extent["length"])
        before[place] = after[place]
    assert before == after
    assert drawn.read_text().startswith("<svg")
    shown = site.run("point", "diff", *points).out.splitlines()
    assert shown[0].startswith("system: changed, ")
    assert set(shown[1]) > {"[", "]"}


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk", "vhdx"])
def test_a_disk_is_exported_in_the_format_of_another_hypervisor(protected: Protected, image_format: str) -> None:
    site = protected.site
    output, raw = site.home / f"elsewhere.{image_format}", site.home / "compared.raw"
    exported = ["machine", "export", protected.second["point"], "--disk", "data", "--format", image_format]
    (result,) = site.run(*exported, "--output", output, "--json").end["results"]
    assert (result["format"], result["output"]) == (image_format, str(output))
    subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", output, raw], check=True)
    assert raw.read_bytes() == protected.qcow2
    assert b"elsewhere.vmdk.partial" not in output.read_bytes()
    assert site.run(*exported, "--output", output, "--json").error["code"] == "exists"


def test_all_disks_go_into_a_directory_and_an_ova_needs_a_definition(protected: Protected) -> None:
    site = protected.site
    point, output = protected.first["point"], site.home / "exported"
    done = site.run("machine", "export", point, "--format", "raw", "--output", output, "--json")
    assert done.status == 0, done.err
    assert sorted(path.name for path in output.iterdir()) == ["data.raw", "system.raw"]
    assert (output / "system.raw").read_bytes() == protected.raw[0]
    refused = site.run("machine", "export", point, "--format", "ova", "--output", site.home / "x.ova", "--json")
    assert refused.error["code"] == "no-definition"
    assert not list(site.home.glob("x.ova*"))


def test_disks_with_marks_of_their_platform_are_exported_into_one_directory(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    contents = {"vda": random.Random(7).randbytes(MIB), "vdb": random.Random(8).randbytes(2 * MIB)}
    repository = open_repository(LocalDirectory.open(site.repository), PASSPHRASE.encode())
    marked = [replace(whole(content, name=name), mark={"kind": "of a test"}) for name, content in contents.items()]
    back_up_disks(repository, marked)
    done = site.run("machine", "export", "web@latest", "--format", "vmdk", "--output", "there", "--json")
    assert done.status == 0, done.err
    steps = [event["step"] for event in done.events if event["type"] == "step"]
    assert steps == ["Exporting vda", "Exporting vdb"]
    for name, content in contents.items():
        image, raw = tmp_path / "there" / f"{name}.vmdk", tmp_path / f"{name}.raw"
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", image, raw], check=True)
        assert raw.read_bytes() == content


def test_an_export_that_fails_leaves_no_directory_behind_and_takes_none_away(protected: Protected) -> None:
    site = protected.site
    command = ["machine", "export", protected.first["point"], "--format", "raw", "--output"]
    assert site.run(*command, "no/such", "--json").error["kind"] == "notfound"
    assert site.run(*command, "disk.raw", "--json").error["code"] == "exists"
    taken = site.home / "taken"
    taken.mkdir()
    (taken / "data.raw").write_text("mine")
    assert site.run(*command, taken, "--json").error["code"] == "exists"
    assert [path.name for path in taken.iterdir()] == ["data.raw"]
    packs, hidden = site.repository / "packs", site.home / "hidden"
    packs.rename(hidden)
    try:
        assert site.run(*command, site.home / "new", "--json").status == 1
        assert not (site.home / "new").exists()
    finally:
        hidden.rename(packs)


def test_a_block_device_is_overwritten_only_if_that_was_said(protected: Protected) -> None:
    site = protected.site
    backing = site.home / "device"
    backing.write_bytes(b"old" * (8 * MIB))
    device = subprocess.run(
        ["losetup", "-f", "--show", backing], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        command = [
            "machine",
            "export",
            protected.first["point"],
            "--disk",
            "data",
            "--format",
            "raw",
            "--output",
            device,
        ]
        assert site.run(*command, "--json").error["code"] == "would-overwrite"
        done = site.run(*command, "--overwrite", "--json")
        assert done.status == 0, done.err
        with Path(device).open("rb") as file:
            assert file.read(len(protected.qcow2)) == protected.qcow2
            assert file.read(3) == (b"old" * (8 * MIB))[len(protected.qcow2) :][:3]
        assert site.run(*command, "--overwrite", "--json").end["results"][0]["written_bytes"] == 0
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
