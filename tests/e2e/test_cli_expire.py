"""Deletion by the installed program: a terminal is asked, and a log that lost a decision is noticed."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import PROGRAM, Finished, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two points of web01."""
    place = Site(home=tmp_path)
    place.create()
    (place.home / "disk.raw").write_bytes(b"holdfast" * 10_000)
    place.back_up("web01", "disk.raw")
    place.back_up("web01", "disk.raw")
    return place


def done(finished: Finished) -> Finished:
    assert finished.status == 0, finished.err
    return finished


def test_a_terminal_is_asked_and_no_means_no(site: Site) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "point", "delete", "web01@latest"],
        cwd=site.home,
        env=site.variables({}),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, b"n\n")
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 6
    assert "Move 1 point to the trash?" in err
    assert len(done(site.run("point", "list", "--json")).value) == 2


def test_a_dry_run_of_a_deletion_names_the_points_and_changes_nothing(site: Site) -> None:
    before = done(site.run("point", "list", "--json")).value
    shown = done(site.run("point", "delete", "web01@latest", "--dry-run"))
    assert before[-1]["id"] in shown.out
    for how in ((), ("--purge",)):
        told = done(site.run("point", "delete", "web01@latest", *how, "--dry-run", "--json")).value
        assert told == before[-1:]
    assert done(site.run("point", "list", "--json")).value == before
    done(site.run("point", "pin", "web01@latest"))
    for how in ((), ("--purge",)):
        refused = site.run("point", "delete", "web01@latest", *how, "--dry-run")
        assert (refused.status, "pinned" in refused.err) == (6, True)
    done(site.run("point", "hold", "web01@latest-1"))
    assert site.run("point", "delete", "web01@latest-1", "--purge", "--dry-run").status == 6


def test_a_repository_that_was_rolled_back_over_a_decision_is_noticed(site: Site) -> None:
    done(site.run("point", "delete", "web01@latest", "--yes"))
    assert not done(site.run("point", "list")).err
    newest = max((site.repository / "log").iterdir())
    newest.unlink()
    rolled_back = done(site.run("point", "list"))
    assert "rolled back" in rolled_back.err


def test_a_clone_that_decided_differently_is_noticed(site: Site) -> None:
    command = ("cp", "-a", site.repository, site.home / "clone")
    subprocess.run(command, check=True)
    done(site.run("point", "delete", "web01@latest", "--yes"))
    clone = str(site.home / "clone")
    elsewhere = str(site.home / "elsewhere")
    done(site.run("point", "pin", "web01@latest", "--repository", clone, XDG_CACHE_HOME=elsewhere))
    told = done(site.run("point", "list", "--repository", clone))
    assert "another copy" in told.err
