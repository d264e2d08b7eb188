"""Files of restore points through the command line: listed, found, read, brought back."""

import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.e2e.command import Site
from tests.support.images import contents_below, ext_image, fat_image, run, sample

LISTED = {"path", "type", "size_bytes", "mode", "uid", "gid", "modified_at", "target", "problem"}
EXTRACTED = {
    "point", "machine", "machine_id", "path", "output", "files", "directories", "links", "bytes", "seconds", "warnings",
}  # fmt: skip


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the guest's file system."""
    folder = sample(tmp_path_factory.mktemp("guest") / "top")
    os.setxattr(folder / "etc/passwd", "user.note", b"hello")
    os.chown(folder / "etc/passwd", 1234, 5678)
    (folder / "etc/passwd").chmod(0o4751)  # which a change of owners takes away
    (folder / "etc/hard").hardlink_to(folder / "etc/passwd")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Site:
    site = Site(home=tmp_path_factory.mktemp("site"))
    ext_image(guest, site.home / "vda")
    site.create()
    site.back_up("web01", site.home / "vda")
    return site


def test_a_directory_is_listed(site: Site, guest: Path) -> None:
    found = {each["path"]: each for each in site.run("file", "ls", "web01@latest:/etc", "--json").value}
    assert set(found) == {"/etc/passwd", "/etc/empty", "/etc/hard"}
    passwd = found["/etc/passwd"]
    assert set(passwd) == LISTED
    assert (passwd["type"], passwd["size_bytes"], passwd["mode"]) == ("file", 11, 0o4751)
    assert (passwd["uid"], passwd["gid"]) == (1234, 5678)
    assert passwd["modified_at"] == "2009-02-13T23:31:30.000000Z"
    assert (guest / "etc/passwd").stat().st_mtime_ns // 10**9 == 1234567890
    (link,) = site.run("file", "ls", "web01@latest:/home/link", "--json").value
    assert (link["type"], link["target"]) == ("link", "../etc/passwd")


def test_a_file_is_read_through_links_of_the_guest(site: Site) -> None:
    assert site.run("file", "cat", "web01@latest:/home/evil").out == "root:x:0:0\n"


def test_files_are_found_by_name_and_by_path(site: Site) -> None:
    found = site.run("file", "find", "web01@latest:/", "*-number-29?", "--json").value
    assert len(found) == 10
    (one,) = site.run("file", "find", "web01@latest:/many", "/many/*-number-017", "--json").value
    assert one["path"].endswith("017")


def test_versions_of_a_file_are_found_over_all_points(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    folder = tmp_path / "top"
    folder.mkdir()
    points = []
    for text in ("one", "one", "two", None):
        if text is not None:
            (folder / "note.txt").write_text(text * 3)
            os.utime(folder / "note.txt", (len(text), ord(text[0])))
        else:
            (folder / "note.txt").unlink()
        ext_image(folder, tmp_path / "vda")
        points.append(site.back_up("web01", tmp_path / "vda")["point"])
    found = site.run("file", "find", "web01:/", "note*", "--json").value
    assert [(each["first_point"], each["last_point"], each["points"]) for each in found] == [
        (points[0], points[1], 2),
        (points[2], points[2], 1),
    ]
    assert {each["path"] for each in site.run("file", "find", ":/", "note.txt", "--json").value} == {"/note.txt"}


def test_what_changed_is_told_from_changed_inodes(tmp_path: Path) -> None:
    site, image = Site(home=tmp_path), tmp_path / "vda"
    site.create()
    ext_image(sample(tmp_path / "top"), image)
    site.back_up("web01", image)
    (tmp_path / "new").write_text("new")
    commands = tmp_path / "commands"
    commands.write_text(f"sif etc/passwd mode 0100600\nrm etc/empty\ncd home\nwrite {tmp_path / 'new'} new\n")
    run("debugfs", "-w", "-f", commands, image)
    site.back_up("web01", image)
    found = site.run("file", "diff", "web01@latest-1:/", "web01@latest", "--json").value
    assert found["method"] == "inodes"
    changes = {
        each["path"]: each for each in found["changes"] if each["after"] is None or each["after"]["type"] != "dir"
    }
    assert {path: each["change"] for path, each in changes.items()} == {
        "/etc/passwd": "changed",
        "/etc/empty": "removed",
        "/home/new": "added",
    }
    assert (changes["/etc/passwd"]["before"]["mode"], changes["/etc/passwd"]["after"]["mode"]) == (0o4751, 0o600)


def test_what_changed_is_told_from_two_walks_where_inodes_are_not(tmp_path: Path) -> None:
    site, image = Site(home=tmp_path), tmp_path / "vda"
    site.create()
    (folder := tmp_path / "top").mkdir()
    for name in ("one", "two", "three"):
        (folder / name).write_text(name)
    fat_image(folder, image, 12, 4 << 20)
    site.back_up("web01", image)
    (folder / "two").write_text("changed")
    run("mdel", "-i", image, "::/one", "::/two")
    run("mcopy", "-i", image, folder / "two", "::/two")
    site.back_up("web01", image)
    found = site.run("file", "diff", "web01@latest-1:/", "web01@latest", "--json").value
    assert found["method"] == "walks"
    assert {each["path"]: each["change"] for each in found["changes"]} == {"/one": "removed", "/two": "changed"}


def test_a_folder_comes_back_as_it_was(site: Site, guest: Path) -> None:
    done = site.run("file", "get", "web01@latest:/", "--output", "back", "--json")
    assert done.status == 0
    (result,) = done.end["results"]
    assert set(result) == EXTRACTED
    back = site.home / "back"
    found = dict(contents_below(back))
    assert found.pop("/lost+found", "") is None
    assert found == contents_below(guest)
    for name in ("etc/passwd", "home", "home/link", "big/sparse"):
        now, then = (back / name).lstat(), (guest / name).lstat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (then.st_mode, then.st_uid, then.st_gid)
        assert now.st_mtime_ns // 10**9 == then.st_mtime_ns // 10**9
    assert os.getxattr(back / "etc/passwd", "user.note") == b"hello"
    assert (back / "etc/hard").samefile(back / "etc/passwd")
    assert (back / "big/sparse").stat().st_blocks * 512 < 1 << 20


def test_an_archive_holds_everything(site: Site, guest: Path) -> None:
    site.run("file", "get", "web01@latest:/etc", "--output", "etc.tar", "--archive", "tar")
    with tarfile.open(site.home / "etc.tar") as archive:
        passwd, hard = archive.getmember("etc/passwd"), archive.getmember("etc/hard")
        first, second = (passwd, hard) if hard.islnk() else (hard, passwd)
        assert (first.mode, first.uid, first.gid, first.mtime) == (0o4751, 1234, 5678, 1234567890)
        assert first.pax_headers["SCHILY.xattr.user.note"] == "hello"
        assert second.linkname == first.name
        content = archive.extractfile(first)
        assert content is not None
        assert content.read() == b"root:x:0:0\n"
    site.run("file", "get", "web01@latest:/", "--output", "all.zip", "--archive", "zip")
    with zipfile.ZipFile(site.home / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("web01/big/random") == (guest / "big/random").read_bytes()
        link = archive.getinfo("web01/home/link")
        assert stat.S_ISLNK(link.external_attr >> 16)
        assert archive.read(link) == b"../etc/passwd"


def test_one_file_comes_back(site: Site, guest: Path) -> None:
    assert site.run("file", "get", "web01@latest:/big/random", "--output", "random").status == 0
    assert (site.home / "random").read_bytes() == (guest / "big/random").read_bytes()


def test_what_came_is_counted_and_a_directory_that_is_not_there_is_told_first(site: Site) -> None:
    done = site.run("file", "get", "web01@latest:/etc/passwd", "--output", "counted")
    assert "/counted: 1 file, 0 folders and 0 links of /etc/passwd" in done.out
    for archive in ((), ("--archive", "tar"), ("--archive", "zip")):
        nowhere = site.run("file", "get", "web01@latest:/etc", "--output", "no/such/x", *archive, "--json")
        assert (nowhere.status, nowhere.error["kind"]) == (4, "notfound")
        assert nowhere.error["message"] == f"directory {site.home}/no/such does not exist"
        assert nowhere.error["hint"]


def test_nothing_is_replaced(site: Site) -> None:
    (site.home / "there").write_text("mine")
    done = site.run("file", "get", "web01@latest:/etc/passwd", "--output", "there", "--json")
    assert (done.status, done.error["code"]) == (6, "exists")
    assert (site.home / "there").read_text() == "mine"
    assert not list(site.home.glob("*.partial"))


def test_what_is_not_there_is_told(site: Site) -> None:
    done = site.run("file", "ls", "web01@latest:/nothing", "--json")
    assert (done.status, done.error["code"]) == (4, "no-such-file")
    assert site.run("file", "ls", "web01@latest:/", "--volume", "vdz", "--json").status == 4
    assert site.run("file", "cat", "web01@latest:/etc").status == 2
    assert site.run("file", "ls", "web01:/etc").status == 2


def test_where_there_is_no_fstab_who_looks_in_vain_is_told_where_files_are(tmp_path: Path) -> None:
    site = Site(home=tmp_path)
    site.create()
    for name in ("vda", "vdb"):
        (tmp_path / f"in-{name}").mkdir()
        (tmp_path / f"in-{name}" / "lnk").symlink_to("/etc/\x1b[31mconf")
        ext_image(tmp_path / f"in-{name}", tmp_path / name)
    point = site.back_up("web01", tmp_path / "vda", tmp_path / "vdb")["point"]
    told = site.run("file", "ls", "web01@latest:/data", "--json").error
    assert told["code"] == "no-such-file"
    assert told["hint"].endswith(f"the volumes are below /vda, /vdb: holdfast file ls web01@{point}:/")
    done = site.run("file", "cat", "web01@latest:/vdb/lnk")
    assert done.status == 4
    assert "there is no /etc: /vdb/lnk is a link to /etc/\N{REPLACEMENT CHARACTER}[31mconf\n" in done.err
    alone = site.run("file", "ls", "web01@latest:/data", "--volume", "vdb", "--json").error
    assert alone["hint"] == f"see what there is with: holdfast file ls web01@{point}:/"


def test_volumes_are_listed(site: Site) -> None:
    (volume,) = site.run("file", "volumes", "web01@latest", "--json").value
    assert (volume["name"], volume["file_system"], volume["mounted_at"]) == ("vda", "ext4", ["/"])
