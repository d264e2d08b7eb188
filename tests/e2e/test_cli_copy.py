"""`holdfast copy` as a user runs it."""

import json
import random
from pathlib import Path

from holdfast.core.progress import Silence
from holdfast.core.verification import CheckOutcome
from holdfast.mover import keep_verification
from holdfast.repository import LocalDirectory, create_repository, open_repository
from tests.e2e.command import PASSPHRASE, Finished, Site
from tests.support.repositories import CHEAP, restored

MIB = 1 << 20


def a_site(tmp_path: Path) -> tuple[Site, Path]:
    """A repository with two points of one machine, and an empty one beside it whose passphrase is another."""
    site = Site(home=tmp_path, environment={"HOLDFAST_TARGET_PASSPHRASE": "other"})
    site.create()
    offsite = tmp_path / "offsite"
    create_repository(LocalDirectory.create(offsite), b"other", cost=CHEAP)
    image = tmp_path / "disk.raw"
    image.write_bytes(random.Random(1).randbytes(2 * MIB))
    site.back_up("web", f"vda={image}")
    with image.open("r+b") as file:
        file.seek(MIB)
        file.write(random.Random(2).randbytes(5000))
    site.back_up("web", f"vda={image}")
    return site, offsite


def test_points_are_copied_once_and_restore_from_there(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    done = site.run("copy", "run", site.repository, offsite, "--json")
    assert done.status == 0, done.err
    first, second = done.end["results"]
    assert {*first} == {
        *("point", "machine", "machine_id", "captured_at", "repository", "method", "built_on"),
        *("sent_bytes", "stored_bytes", "seconds", "locked_until", "warnings"),
    }
    assert (first["machine"], first["method"], first["built_on"]) == ("web", "cut-anew", None)
    assert second["built_on"] == first["point"]
    assert second["sent_bytes"] < first["sent_bytes"] / 4
    again = site.run("copy", "run", site.repository, offsite, "--json")
    assert (again.status, again.end["results"]) == (0, [])
    output = tmp_path / "out.raw"
    back = site.run(
        *("restore", "disk", "web@latest", "--disk", "vda", "--output", output, "--repository", offsite),
        HOLDFAST_PASSPHRASE="other",
    )
    assert back.status == 0, back.err
    assert output.read_bytes() == (tmp_path / "disk.raw").read_bytes()


def test_a_dry_run_says_what_would_be_copied_and_changes_nothing(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    before = {path: path.stat().st_size for path in offsite.rglob("*")}
    done = site.run("copy", "run", site.repository, offsite, "--dry-run", "--json")
    assert [row["built_on"] is None for row in done.end["results"]] == [True, False]
    told = site.run("copy", "run", site.repository, offsite, "--dry-run")
    assert "2 to copy, 0 there already" in told.out
    assert "cut and named with the target's keys" in told.out
    assert {path: path.stat().st_size for path in offsite.rglob("*")} == before


def test_one_point_can_be_chosen_and_the_rest_follows(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    done = site.run("copy", "run", site.repository, offsite, "--point", "web@latest-1", "--json")
    assert len(done.end["results"]) == 1
    listed = site.run("copy", "status", site.repository, offsite, "--json")
    assert [(row["machine"], row["copy"]) for row in json.loads(listed.out)] == [("web", "there"), ("web", "missing")]
    done = site.run("copy", "run", site.repository, offsite, "--machine", "web", "--json")
    assert len(done.end["results"]) == 1


def test_the_targets_passphrase_is_the_sources_unless_another_is_given(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    denied = site.run("copy", "run", site.repository, offsite, HOLDFAST_TARGET_PASSPHRASE=None)
    assert denied.status == 5
    assert "HOLDFAST_TARGET_PASSPHRASE" in denied.err
    secret = tmp_path / "secret"
    secret.write_text("other\n")
    from_file = {"HOLDFAST_TARGET_PASSPHRASE": None, "HOLDFAST_TARGET_PASSPHRASE_FILE": str(secret)}
    assert site.run("copy", "status", site.repository, offsite, **from_file).status == 0
    from_command = {"HOLDFAST_TARGET_PASSPHRASE": None, "HOLDFAST_TARGET_PASSPHRASE_COMMAND": "echo other"}
    assert site.run("copy", "status", site.repository, offsite, **from_command).status == 0
    third = tmp_path / "third"
    create_repository(LocalDirectory.create(third), PASSPHRASE.encode(), cost=CHEAP)
    assert site.run("copy", "run", site.repository, third, HOLDFAST_TARGET_PASSPHRASE=None).status == 0


def test_a_failed_point_is_told_and_the_others_are_copied(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    lost = max((site.repository / "packs").rglob("*"), key=lambda path: path.stat().st_size)
    lost.write_bytes(bytes(lost.stat().st_size))
    image = tmp_path / "other.raw"
    image.write_bytes(random.Random(3).randbytes(MIB))
    sound = site.back_up("db", f"vda={image}")
    done = site.run("copy", "run", site.repository, offsite, "--json")
    assert done.status == 1
    *failed, copied = done.end["results"]
    assert [(each["machine"], each["error"]["kind"]) for each in failed] == [("web", "damaged")] * 2
    assert all(each["point"] for each in failed)
    assert copied["point"] == sound["point"]
    assert [point.id for point in open_repository(LocalDirectory.open(offsite), b"other").points()] == [sound["point"]]


def also(site: Site, image: Path, *urls: Path) -> Finished:
    options: list[str | Path] = [word for url in urls for word in ("--also-to", url)]
    return site.run("backup", "--name", "web", "--image", f"vda={image}", *options, "--json")


def test_one_read_protects_in_several_repositories(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    vault = tmp_path / "vault"
    create_repository(LocalDirectory.create(vault), b"other", cost=CHEAP)
    done = also(site, tmp_path / "disk.raw", offsite, vault)
    assert done.status == 0, done.err
    results = done.end["results"]
    assert [each["repository"] for each in results] == [str(site.repository), str(offsite), str(vault)]
    assert {each["point"] for each in results} == {results[0]["point"]}
    assert [each["read_bytes"] > 0 for each in results] == [True, False, False]
    assert all(each.keys() == results[0].keys() for each in results)
    for place in (offsite, vault):
        repository = open_repository(LocalDirectory.open(place), b"other")
        (point,) = repository.points()
        assert point.id == results[0]["point"]
        assert restored(repository, point) == (tmp_path / "disk.raw").read_bytes()


def test_a_second_repository_that_fails_loses_the_first_nothing(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    done = also(site, tmp_path / "disk.raw", tmp_path / "nowhere", offsite)
    assert (done.status, done.end["state"]) == (3, "warnings")
    missing, first, second = done.end["results"]
    assert (missing["repository"], missing["error"]["kind"]) == (str(tmp_path / "nowhere"), "notfound")
    assert first["point"] == second["point"]
    assert "nowhere" in done.err
    packs = offsite / "packs"
    packs.rename(offsite / "other")
    packs.write_bytes(b"no directory")
    done = also(site, tmp_path / "disk.raw", offsite)
    assert done.status == 3
    kept, failed = done.end["results"]
    assert kept["repository"] == str(site.repository)
    assert failed["repository"] == str(offsite)
    assert failed["error"]
    assert json.loads(site.run("point", "list", "--json").out)[-1]["id"] == kept["point"]


def test_where_the_first_repository_fails_the_next_takes_the_machine(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    (site.repository / "index").rename(site.repository / "other")
    (site.repository / "index").write_bytes(b"no directory")
    done = also(site, tmp_path / "disk.raw", offsite)
    assert done.status == 3, done.err
    by_place = {each["repository"]: each for each in done.end["results"]}
    assert by_place[str(site.repository)]["error"]
    assert by_place[str(offsite)]["read_bytes"] > 0
    (point,) = open_repository(LocalDirectory.open(offsite), b"other").points()
    assert point.id == by_place[str(offsite)]["point"]


def test_a_machine_that_nobody_can_take_is_a_failure(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    done = also(site, tmp_path / "none.raw", offsite)
    assert (done.status, done.end["state"]) == (4, "failed")


def test_the_newest_point_that_was_verified_is_chosen_by_whatever_takes_a_point(tmp_path: Path) -> None:
    site, offsite = a_site(tmp_path)
    repository = open_repository(LocalDirectory.open(site.repository), PASSPHRASE.encode())
    proven = repository.points()[0]
    keep_verification(repository, proven, [CheckOutcome(name="boot", ok=True)], None, Silence())
    newest = "web@latest-verified"
    copied = site.run("copy", "run", site.repository, offsite, "--point", newest, "--json")
    assert [each["point"] for each in copied.end["results"]] == [proven.id]
    exported = site.run("machine", "export", newest, "--format", "raw", "--output", tmp_path / "out", "--json")
    assert exported.end["results"][0]["point"] == proven.id
    deleted = site.run("point", "delete", newest, "--yes", "--json")
    assert [each["id"] for each in deleted.value] == [proven.id]
    back = site.run("point", "undelete", newest, "--json")
    assert [each["id"] for each in back.value] == [proven.id]
