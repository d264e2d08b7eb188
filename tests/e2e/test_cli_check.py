"""Checking, marking, healing and rebuilding by commands alone."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.command import Site
from tests.e2e.test_cli_images import MIB, write_disk

HURT = {"object", "kind", "machine", "point", "disk", "offset", "length"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(home=tmp_path)
    site.create()
    write_disk(tmp_path / "a.raw", 9 * MIB, seed=5)
    site.back_up("a", "a.raw")
    return site


def largest_pack(site: Site) -> Path:
    return max(site.repository.glob("packs/*/*"), key=lambda pack: pack.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + 321] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(content)


def require_restored(site: Site, status: int = 0) -> None:
    output = site.home / "out.raw"
    done = site.run("restore", "disk", "a@latest", "--disk", "a", "--output", output)
    assert done.status == status, done.err
    assert output.read_bytes() == (site.home / "a.raw").read_bytes()


@pytest.mark.parametrize("level", ["structure", "keyless", "sample", "full"])
def test_every_level_says_of_a_whole_repository_what_it_proves(site: Site, level: str) -> None:
    done = site.run("repository", "check", "--level", level, "--json")
    (report,) = done.end["results"]
    assert (done.status, report["ok"], report["level"], report["damage"]) == (0, True, level, [])
    assert report["proves"]


def test_a_keyless_check_needs_no_passphrase_and_finds_a_flipped_bit(site: Site) -> None:
    keyless = ("repository", "check", "--level", "keyless", "--json")
    assert site.run(*keyless, HOLDFAST_PASSPHRASE=None).status == 0
    flip(largest_pack(site))
    done = site.run(*keyless, HOLDFAST_PASSPHRASE=None)
    assert (done.status, done.error["kind"]) == (1, "damaged")
    (report,) = done.end["results"]
    (damage,) = report["damage"]
    assert set(damage) == HURT
    assert largest_pack(site).name in damage["object"]
    (report,) = site.run(*keyless).end["results"]
    assert {each["machine"] for each in report["damage"]} == {"a"}, "with the passphrase it says whom it hurts"


def test_a_wrong_passphrase_does_not_stop_a_check_that_needs_none(site: Site) -> None:
    wrong = {"HOLDFAST_PASSPHRASE": "wrong"}
    done = site.run("repository", "check", "--level", "keyless", "--json", **wrong)
    (report,) = done.end["results"]
    assert (done.status, report["ok"]) == (3, True)
    assert any("does not open" in event.get("message", "") for event in done.events)
    assert site.run("repository", "check", "--level", "keyless", "--mark", **wrong).status == 5
    assert site.run("repository", "check", "--level", "structure", **wrong).status == 5


def test_marked_damage_is_healed_by_the_next_backup(site: Site) -> None:
    flip(largest_pack(site))
    assert site.run("repository", "check", "--mark").status == 1
    result = site.back_up("a", "a.raw")
    assert 0 < result["sent_bytes"] <= 256 * 1024
    (report,) = site.run("repository", "check", "--json").end["results"]
    assert {each["point"] for each in report["damage"]} == {None}
    require_restored(site)


def a_copy(site: Site) -> Path:
    copy = site.home / "copy"
    assert site.run("repository", "create", "--repository", copy).status == 0
    assert site.run("copy", "run", site.repository, copy).status == 0
    return copy


def test_damage_is_healed_from_a_copy(site: Site) -> None:
    copy = a_copy(site)
    largest_pack(site).unlink()
    done = site.run("repository", "check", "--level", "structure", "--heal-from", copy, "--json")
    report, healed = done.end["results"]
    assert (done.status, done.end["state"], report["ok"]) == (3, "warnings", False)
    assert (len(healed["healed"]), healed["unhealed"]) == (1, [])
    assert healed["sent_bytes"] > 0
    require_restored(site)


@pytest.mark.parametrize("level", ["structure", "sample"])
def test_what_was_marked_before_is_healed_by_a_check_that_does_not_read_it(site: Site, level: str) -> None:
    copy = a_copy(site)
    flip(largest_pack(site))
    assert site.run("repository", "check", "--mark").status == 1
    cheap = ("repository", "check", "--level", level, "--share", "0", "--json")
    marked = site.run(*cheap)
    assert (marked.status, {each["machine"] for each in marked.end["results"][0]["damage"]}) == (1, {"a"})
    done = site.run(*cheap, "--heal-from", copy)
    _, healed = done.end["results"]
    assert (done.status, len(healed["healed"])) == (3, 1), done.err
    require_restored(site)


def test_damage_of_no_point_is_told_though_all_points_were_healed(site: Site) -> None:
    copy = a_copy(site)
    largest_pack(site).unlink()
    (site.repository / "keys" / "1").unlink()
    done = site.run("repository", "check", "--heal-from", copy, "--json")
    _, healed = done.end["results"]
    assert (done.status, len(healed["healed"]), done.error["kind"]) == (1, 1, "damaged")
    assert "1 finding" in done.error["message"]
    require_restored(site)


def test_index_and_configuration_are_made_anew(site: Site) -> None:
    shutil.rmtree(site.repository / "index")
    (site.repository / "config").unlink()
    (site.repository / "config.2").unlink()
    assert site.run("repository", "check").status == 4
    (plan,) = site.run("repository", "rebuild", "--dry-run", "--json").end["results"]
    assert plan["configuration"] == ["config", "config.2"]
    assert not (site.repository / "config").exists()
    done = site.run("repository", "rebuild", "--json")
    (report,) = done.end["results"]
    assert (done.status, report["packs_listed"]) == (0, len(plan["packs"]))
    assert site.run("repository", "check").status == 0
    require_restored(site)


def test_points_are_restored_although_an_entry_of_the_log_is_lost(site: Site) -> None:
    site.back_up("b", "a.raw")
    site.back_up("c", "a.raw")
    (site.repository / "log/000000000003").unlink()
    done = site.run("point", "list", "--json")
    assert done.status == 0
    assert "000000000003" in done.err
    assert '"machine": "b"' not in done.out
    require_restored(site, status=3)
    backup = site.run("backup", "--name", "a", "--image", "a.raw", "--json")
    assert (backup.status, backup.error["code"]) == (1, "log-hole")
