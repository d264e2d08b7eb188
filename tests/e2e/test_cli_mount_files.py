"""Files of restore points below a directory of this host."""

import os
import select
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Site
from tests.support.images import contents_below, ext_image, sample


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sample(tmp_path_factory.mktemp("guest") / "top")
    os.setxattr(folder / "etc/passwd", "user.note", b"hello")
    return folder


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Site:
    site = Site(home=tmp_path_factory.mktemp("site"))
    ext_image(guest, site.home / "vda")
    site.create()
    site.back_up("web01", site.home / "vda")
    return site


@pytest.fixture
def site(protected: Site) -> Iterator[Site]:
    """Nothing is mounted by it afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        site = Site(home=protected.home, environment={"HOLDFAST_RUN": run})
        yield site
        for mount in site.run("mount", "list", "--json").value:
            site.run("mount", "remove", mount["id"])


def mounted(site: Site, directory: Path) -> dict[str, Any]:
    directory.mkdir()
    done = site.run("mount", "create", "web01@latest", "--fuse", directory, "--json")
    assert done.status == 0, done.err
    return dict(done.value)


def test_every_file_is_below_the_directory_until_it_is_removed(site: Site, guest: Path, tmp_path: Path) -> None:
    holds = site.run("point", "show", "web01@latest", "--json").value["holds"]
    mount = mounted(site, tmp_path / "files")
    assert len(site.run("point", "show", "web01@latest", "--json").value["holds"]) == len(holds) + 1
    assert (mount["kind"], mount["directory"]) == ("fuse", str(tmp_path / "files"))
    found = dict(contents_below(tmp_path / "files"))
    found.pop("/lost+found")
    assert found == contents_below(guest)
    passwd = tmp_path / "files/etc/passwd"
    assert os.getxattr(passwd, "user.note") == b"hello"
    assert passwd.stat().st_mode == 0o104751
    with passwd.open("rb") as file:
        file.seek(5)
        assert file.read(3) == b"x:0"
    with pytest.raises(OSError, match="Read-only file system"):
        (tmp_path / "files/new").touch()
    assert [each["id"] for each in site.run("mount", "list", "--json").value] == [mount["id"]]
    assert site.run("mount", "remove", mount["id"]).status == 0
    assert not any((tmp_path / "files").iterdir())
    assert site.run("point", "show", "web01@latest", "--json").value["holds"] == holds


def test_what_a_killed_server_left_is_swept(site: Site, tmp_path: Path) -> None:
    mount = mounted(site, tmp_path / "files")
    server = os.pidfd_open(mount["process"])
    signal.pidfd_send_signal(server, signal.SIGKILL)
    assert select.select([server], [], [], 30)[0]
    os.close(server)
    assert site.run("mount", "list", "--json").value == []
    assert not any((tmp_path / "files").iterdir())


def test_what_cannot_be_shown_is_told(site: Site, tmp_path: Path) -> None:
    nowhere = site.run("mount", "create", "web01@latest", "--fuse", tmp_path / "no", "--json")
    assert (nowhere.status, nowhere.error["code"]) == (4, "no-directory")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    assert site.run("mount", "create", "web01@latest", "--fuse", tmp_path / "full").status == 6
    (tmp_path / "empty").mkdir()
    done = site.run("mount", "create", "web01@latest", "--fuse", tmp_path / "empty", "--volume", "vdz", "--json")
    assert (done.status, done.error["code"]) == (4, "no-such-file")
    assert site.run("mount", "list", "--json").value == []
