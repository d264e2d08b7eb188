"""Deleting, protecting, retention and the trash, as commands; in this process, since there are many of them."""

import shutil
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.main import run
from holdfast.repository import LocalDirectory, create_repository
from tests.e2e.command import PASSPHRASE, Finished, Site
from tests.support.disks import whole
from tests.support.repositories import CHEAP, back_up_disks


@dataclass(frozen=True, slots=True, kw_only=True)
class NearSite(Site):
    """A site whose commands run in this process."""

    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def run(self, *arguments: str | Path, **changes: str | None) -> Finished:
        with self.patch.context() as patch:
            for name, value in self.variables(changes).items():
                patch.setenv(name, value)
            time.tzset()
            self.capture.readouterr()
            status = run([str(argument) for argument in arguments])
            told = self.capture.readouterr()
        time.tzset()
        return Finished(status=status, out=told.out, err=told.err)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with three points of web01, one of db01."""
    home = tmp_path_factory.mktemp("template")
    repository = create_repository(LocalDirectory.create(home / "repository"), PASSPHRASE.encode(), cost=CHEAP)
    for machine in ("web01", "web01", "web01", "db01"):
        back_up_disks(repository, [whole(b"holdfast" * 10_000)], machine=machine, machine_id=machine)
    return home


@pytest.fixture
def site(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> NearSite:
    home = Path(shutil.copytree(template, tmp_path / "home"))
    return NearSite(home=home, capture=capsys, patch=monkeypatch)


def points(site: NearSite, *options: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = done(site.run("point", "list", *options, "--json")).value
    return listed


def done(finished: Finished) -> Finished:
    assert finished.status == 0, finished.err
    return finished


def refused(finished: Finished, code: str) -> str:
    assert (finished.status, finished.error["code"]) == (6, code)
    return str(finished.error["message"])


def test_a_deleted_point_rests_in_the_trash_and_comes_back(site: NearSite) -> None:
    (shape,) = done(site.run("point", "delete", "web01@latest", "--yes", "--json")).value
    assert (shape["state"], shape["machine"]) == ("trash", "web01")
    assert datetime.fromisoformat(shape["trashed_at"])
    assert shape["trashed_by"].count("@") == 1
    assert [point["id"] for point in points(site, "--trash")] == [shape["id"]]
    assert shape["id"] not in {point["id"] for point in points(site)}
    assert len(points(site, "--all")) == 4
    assert "trash" in done(site.run("point", "list", "--trash")).out
    (back,) = done(site.run("point", "undelete", "web01@latest", "--json")).value
    assert (back["id"], back["state"], back["trashed_at"]) == (shape["id"], "live", None)
    assert points(site, "--trash") == []


def test_deleting_wants_yes_where_no_terminal_asks(site: NearSite) -> None:
    before = points(site, "--all")
    for command in (
        ("point", "delete", "web01@latest"),
        ("point", "delete", "web01@latest", "--purge"),
        ("retention", "apply", "--last", "1"),
    ):
        assert "--yes" in refused(site.run(*command, "--json"), "not-confirmed")
    assert points(site, "--all") == before


def test_what_is_purged_is_gone_for_every_command(site: NearSite) -> None:
    (shape,) = done(site.run("point", "delete", "web01@latest", "--purge", "--yes", "--json")).value
    assert shape["state"] == "purged"
    assert len(points(site, "--all")) == 3
    for verb in ("show", "undelete", "pin", "hold"):
        assert site.run("point", verb, shape["id"]).status == 4
    assert done(site.run("repository", "check")).status == 0


def test_a_point_in_the_trash_can_be_purged_by_its_id(site: NearSite) -> None:
    (shape,) = done(site.run("point", "delete", "web01@latest", "--yes", "--json")).value
    done(site.run("point", "delete", shape["id"], "--purge", "--yes"))
    assert len(points(site, "--all")) == 3


def test_a_pinned_point_is_kept_until_it_is_released(site: NearSite) -> None:
    oldest = points(site, "web01")[0]["id"]
    (shape,) = done(site.run("point", "pin", oldest, "--json")).value
    assert shape["pinned"] is True
    assert "pinned" in refused(site.run("point", "delete", oldest, "--yes", "--json"), "point-state")
    plan = done(site.run("retention", "apply", "--last", "1", "--yes", "--json")).value
    assert {each["point"]: each["rules"] for each in plan["points"]}[oldest] == ["pinned"]
    assert oldest in {point["id"] for point in points(site)}
    done(site.run("point", "pin", oldest, "--release"))
    done(site.run("point", "delete", oldest, "--yes"))


def test_a_held_point_is_kept_and_says_by_whom_and_why(site: NearSite) -> None:
    (shape,) = done(site.run("point", "hold", "web01@latest", "--reason", "case 4711", "--json")).value
    assert shape["state"] == "held"
    (hold,) = shape["holds"]
    assert (hold["reason"], hold["until"]) == ("case 4711", None)
    shown = done(site.run("point", "show", shape["id"])).out
    assert "case 4711" in shown
    assert hold["by"] in shown
    assert "held" in refused(site.run("point", "delete", shape["id"], "--purge", "--yes", "--json"), "point-state")
    (shape,) = done(site.run("point", "hold", shape["id"], "--release", "--json")).value
    assert (shape["state"], shape["holds"]) == ("live", [])
    assert "not held" in refused(site.run("point", "hold", shape["id"], "--release", "--json"), "point-state")


def test_a_locked_point_is_kept_and_the_lock_only_grows(site: NearSite) -> None:
    (shape,) = done(site.run("point", "lock", "web01@latest", "--for", "30d", "--json")).value
    until = datetime.fromisoformat(shape["locked_until"])
    assert "locked until" in refused(site.run("point", "delete", shape["id"], "--yes", "--json"), "point-state")
    shorter = (until - timedelta(days=1)).isoformat()
    refused(site.run("point", "lock", shape["id"], "--until", shorter, "--json"), "point-state")
    refused(site.run("point", "lock", shape["id"], "--until", "2020-01-01", "--json"), "point-state")
    longer = (until + timedelta(days=1)).isoformat()
    (shape,) = done(site.run("point", "lock", shape["id"], "--until", longer, "--json")).value
    assert datetime.fromisoformat(shape["locked_until"]) == until + timedelta(days=1)


@pytest.mark.parametrize(
    "command",
    [
        ("point", "lock", "web01@latest"),
        ("point", "lock", "web01@latest", "--for", "1d", "--until", "2030-01-01"),
        ("point", "lock", "web01@latest", "--for", "999999999d"),
        ("point", "lock", "web01@latest", "--until", "tomorrow"),
        ("point", "delete"),
        ("retention", "apply"),
        ("retention", "apply", "--last", "-1"),
        ("retention", "apply", "--minimum-age", "soon"),
        ("repository", "purge", "--older-than", "-1d"),
    ],
)
def test_a_command_that_means_nothing_is_a_usage_error(site: NearSite, command: tuple[str, ...]) -> None:
    finished = site.run(*command, "--json")
    assert (finished.status, finished.error["kind"]) == (2, "usage")


def test_retention_shows_its_plan_and_then_does_it(site: NearSite) -> None:
    first, second, third = (point["id"] for point in points(site, "web01"))
    table = done(site.run("retention", "apply", "--last", "2", "--dry-run")).out
    assert "3 to keep, 1 to drop" in table
    assert "no rule keeps it" in table
    dry = done(site.run("retention", "apply", "--last", "2", "--dry-run", "--json")).value
    assert (dry["keep"], dry["drop"], dry["dropped"]) == (3, 1, [])
    assert len(points(site)) == 4
    did = done(site.run("retention", "apply", "--last", "2", "--yes", "--json")).value
    assert did == {**dry, "dry_run": False, "dropped": [first]}
    verdicts = {each["point"]: (each["keep"], each["rules"]) for each in did["points"]}
    assert [verdicts[each] for each in (first, second, third)] == [
        (False, []),
        (True, ["last 2"]),
        (True, ["last 1"]),
    ]
    assert [point["id"] for point in points(site, "--trash")] == [first]
    again = done(site.run("retention", "apply", "--last", "2", "--json")).value
    assert (again["drop"], again["dropped"]) == (0, [])


def test_retention_looks_only_at_the_machines_it_is_told(site: NearSite) -> None:
    done(site.run("retention", "apply", "--machine", "web01", "--last", "1", "--yes"))
    assert [point["machine"] for point in points(site)] == ["web01", "db01"]
    assert site.run("retention", "apply", "--machine", "web02", "--last", "1", "--dry-run").status == 4


def test_days_are_those_of_the_local_calendar(site: NearSite) -> None:
    command = ("retention", "apply", "--daily", "1", "--dry-run", "--json")
    days = {
        zone: {rule for each in done(site.run(*command, TZ=zone)).value["points"] for rule in each["rules"]}
        for zone in ("Etc/GMT+12", "Etc/GMT-14")  # 26 hours apart: never the same day
    }
    assert not days["Etc/GMT+12"] & {each for each in days["Etc/GMT-14"] if each.startswith("daily")}


def test_the_trash_is_purged_once_it_is_old_enough(site: NearSite) -> None:
    done(site.run("point", "delete", "web01@latest", "web01@latest-1", "--yes"))
    held = points(site, "--trash")[0]["id"]
    done(site.run("point", "hold", held))
    young = done(site.run("repository", "purge", "--json")).value
    assert young["purged"] == []
    assert {each["reason"] for each in young["points"]} == {"held", "not long enough in the trash"}
    dry = done(site.run("repository", "purge", "--older-than", "0s", "--dry-run", "--json")).value
    assert [each["purge"] for each in dry["points"]].count(True) == 1
    refused(site.run("repository", "purge", "--older-than", "0s", "--json"), "not-confirmed")
    did = done(site.run("repository", "purge", "--older-than", "0s", "--yes", "--json")).value
    assert len(did["purged"]) == 1
    assert [point["id"] for point in points(site, "--trash")] == [held]
