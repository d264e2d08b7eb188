"""What a user meets at the command line when something is wrong: a kind, an exit status, and a way on."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.repository import LocalDirectory, open_repository
from holdfast.repository.framing import CONFIG, frame, unframe
from tests.e2e.command import PASSPHRASE, Site
from tests.support.storage import small_disk

MIB = 1024 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(home=tmp_path)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def an_image(path: Path, seed: int, size: int) -> Path:
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def protect(site: Site, image: Path) -> Any:
    return site.run("backup", "--name", "web", "--image", f"disk={image}", "--json")


def restore(site: Site, point: str, output: Path) -> Any:
    return site.run("restore", "disk", f"web@{point}", "--disk", "disk", "--output", output, "--json")


def test_a_repository_that_fills_up_keeps_what_it_has_and_goes_on_when_there_is_room(site: Site) -> None:
    first = an_image(site.home / "first.raw", 1, 5 * MIB)
    second = an_image(site.home / "second.raw", 2, 60 * MIB)
    with small_disk(site.repository, 40) as place:
        site.create()
        assert protect(site, first).status == 0
        done = protect(site, second)
        assert (done.status, done.error["kind"]) == (1, "full")
        assert str(place) in done.error["message"]
        assert done.error["hint"]
        assert done.end["state"] == "failed"
        assert restore(site, "latest", site.home / "first.out").status == 0
        assert (site.home / "first.out").read_bytes() == first.read_bytes()
        assert site.run("repository", "check", "--json").status == 0
        remount(place, "size=120m")
        assert protect(site, second).status == 0
        assert restore(site, "latest", site.home / "second.out").status == 0
        assert (site.home / "second.out").read_bytes() == second.read_bytes()
        assert site.run("repository", "check", "--json").end["results"][0]["ok"]


def test_on_a_disk_without_a_free_byte_points_are_deleted_and_their_room_is_free_again(site: Site) -> None:
    images = [an_image(site.home / f"{seed}.raw", seed, 60 * MIB) for seed in (1, 2)]
    with small_disk(site.repository, 160) as place:
        site.create()
        for image in images:
            assert protect(site, image).status == 0
        with pytest.raises(OSError, match="No space left"):
            (place / "of somebody else").write_bytes(bytes(160 * MIB))
        assert os.statvfs(place).f_bavail == 0
        assert restore(site, "latest", site.home / "full.out").status == 0
        assert site.run("point", "delete", "web@latest-1", "--yes", "--json").status == 0
        assert site.run("repository", "purge", "--older-than", "0s", "--yes", "--json").status == 0
        report = site.run("repository", "collect", "--json").end["results"][0]
        assert report["freed_bytes"] > 55 * MIB
        assert sum(part.stat().st_blocks * 512 for part in (place / "ballast").iterdir()) > 4 * MIB
        assert site.run("repository", "check", "--json").end["results"][0]["ok"]
        assert restore(site, "latest", site.home / "after.out").status == 0
    assert (site.home / "after.out").read_bytes() == images[1].read_bytes()


def test_a_repository_on_a_read_only_file_system_still_gives_everything_back(site: Site) -> None:
    image = an_image(site.home / "disk.raw", 1, MIB)
    with small_disk(site.home / "place", 16) as place:
        inside = Site(home=place)
        inside.create()
        assert protect(inside, image).status == 0
        remount(place, "ro")
        try:
            done = protect(inside, image)
            assert (done.status, done.error["kind"]) == (5, "denied")
            assert "Read-only file system" in done.error["message"]
            assert inside.run("point", "list", "--json").status == 0
            assert inside.run("repository", "check", "--json").status == 0
            assert restore(inside, "latest", site.home / "out.raw").status == 0
        finally:
            remount(place, "rw")
    assert (site.home / "out.raw").read_bytes() == image.read_bytes()


def test_a_newer_repository_is_refused(site: Site) -> None:
    site.create()
    for name in ("config", "config.2"):
        path = site.repository / name
        envelope = json.loads(unframe(CONFIG, path.read_bytes(), name))
        body = json.loads(envelope["body"]) | {"format": 2}
        path.write_bytes(frame(CONFIG, json.dumps(envelope | {"body": json.dumps(body)}).encode()))
    done = site.run("point", "list", "--json")
    assert (done.status, done.error["kind"], done.error["code"]) == (6, "refused", "newer-format")
    assert "newer version" in done.error["hint"]


def test_each_kind_of_object_damaged_is_exit_1_from_the_check_and_names_it(site: Site) -> None:
    site.create()
    image = an_image(site.home / "disk.raw", 1, MIB)
    (result,) = protect(site, image).end["results"]
    whole = site.home / "whole"
    shutil.copytree(site.repository, whole)
    for victim in sorted(path for path in whole.rglob("*") if path.is_file() and path.parent.name != "ballast"):
        name = victim.relative_to(whole)
        shutil.rmtree(site.repository)
        shutil.copytree(whole, site.repository)
        content = bytearray(victim.read_bytes())
        content[len(content) // 2 - 5] ^= 4
        (site.repository / name).write_bytes(content)
        done = site.run("repository", "check", "--json")
        assert done.status == 1, f"{name}: {done.out}"
        assert done.error["kind"] == "damaged"
        (report,) = done.end["results"]
        assert not report["ok"]
        assert str(name) in {damage["object"] for damage in report["damage"]}
        output = site.home / "out.raw"
        done = restore(site, "latest", output)
        hurt = [damage for damage in report["damage"] if damage["point"] is not None]
        if hurt:
            assert {(damage["machine"], damage["point"], damage["disk"]) for damage in hurt} == {
                ("web", result["point"], "disk")
            }
            assert (done.status, done.error["kind"]) == (1, "damaged")
            assert not list(site.home.glob("out.raw*")), "something is left that looks restored"
        else:
            assert done.status == 0
            assert output.read_bytes() == image.read_bytes()
            output.unlink()


@pytest.mark.parametrize(
    ("lost", "kind", "status"), [("config*", "notfound", 4), ("keys/1*", "damaged", 1), ("log/*1", "damaged", 1)]
)
def test_what_a_repository_cannot_do_without_is_named_when_it_is_gone(
    site: Site, lost: str, kind: str, status: int
) -> None:
    site.create()
    protect(site, an_image(site.home / "disk.raw", 1, MIB))
    for path in list(site.repository.glob(lost)):
        path.unlink()
    for command in (["repository", "check"], ["repository", "info"], ["point", "delete", "web@latest", "--yes"]):
        done = site.run(*command, "--json")
        assert (done.status, done.error["kind"]) == (status, kind)
        assert done.error["hint"]


def test_an_interrupted_backup_leaves_nothing_behind_and_the_next_one_works(site: Site) -> None:
    site.create()
    image = an_image(site.home / "disk.raw", 1, 100 * MIB)
    with site.start("backup", "--name", "web", "--image", f"disk={image}", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 128 + 15
    assert list((site.repository / "tmp").iterdir()) == []
    opened = open_repository(LocalDirectory.open(site.repository), PASSPHRASE.encode())
    assert opened.points() == []
    assert protect(site, image).status == 0
    assert site.run("repository", "check").status == 0
