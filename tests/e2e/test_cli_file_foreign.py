"""File systems that Holdfast does not read itself are read through libguestfs, or named with what is missing."""

import json
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Site
from tests.support.images import contents_below, ext_image, run, sample
from tests.testbed.appliance import appliance_environment

if TYPE_CHECKING:
    from subprocess import Popen

pytestmark = pytest.mark.guest
STRANGE = "a\nnew line"
NOT_UTF_8 = b"not \xff utf-8"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the guest's file system."""
    folder = sample(tmp_path_factory.mktemp("guest") / "top")
    os.setxattr(folder / "etc/passwd", "user.note", b"hello")
    os.chown(folder / "etc/passwd", 1234, 5678)
    (folder / "etc/passwd").chmod(0o640)
    (folder / "etc" / STRANGE).write_text("strange")
    Path(os.fsdecode(os.fsencode(folder) + b"/etc/" + NOT_UTF_8)).write_text("stranger")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, guest: Path) -> Site:
    site = Site(home=tmp_path_factory.mktemp("site"), environment=appliance_environment())
    run("mksquashfs", guest, site.home / "vda", "-noappend", "-quiet", "-no-progress")
    with (site.home / "vda").open("ab") as image:  # a disk ends with a whole MiB
        image.truncate(-(-image.tell() >> 20) << 20 or 1 << 20)
    site.create()
    site.back_up("web01", site.home / "vda")
    ext_image(guest, site.home / "vdb", "ext4", "-O", "meta_bg,^resize_inode")  # a feature that is not read here
    site.back_up("web02", site.home / "vdb")
    return site


def finished(running: "Popen[str]") -> tuple[int, str, str]:
    out, err = running.communicate(timeout=300)
    return running.returncode, out, err


def test_files_are_listed_and_read_and_brought_back_through_libguestfs(site: Site, guest: Path) -> None:
    listing = site.start("file", "ls", "web01@latest:/etc", "--json")  # side by side: each boots an appliance
    reading = site.start("file", "cat", "web02@latest:/home/evil")
    getting = site.start("file", "get", "web01@latest:/", "--output", "back", "--json")
    status, out, err = finished(listing)
    assert status == 0, err
    found = {each["path"]: each for each in json.loads(out)}
    assert {f"/etc/{STRANGE}", "/etc/passwd", "/etc/empty"} < found.keys()
    passwd = found["/etc/passwd"]
    assert (passwd["type"], passwd["size_bytes"], passwd["mode"]) == ("file", 11, 0o640)
    assert (passwd["uid"], passwd["gid"]) == (1234, 5678)
    assert passwd["modified_at"] == "2009-02-13T23:31:30.000000Z"
    (unasked,) = [each for each in found.values() if each["problem"]]
    assert os.fsencode(unasked["path"]) == b"/etc/" + NOT_UTF_8
    status, out, err = finished(reading)
    assert (status, out) == (0, "root:x:0:0\n")
    assert err.count("reading vdb through libguestfs") == 1
    status, out, err = finished(getting)
    assert status == 3, err  # the name that libguestfs cannot be asked for is left out, and told
    assert "UTF-8" in json.dumps(out)
    expected = contents_below(guest)
    assert expected.pop("/etc/" + os.fsdecode(NOT_UTF_8))
    assert contents_below(site.home / "back") == expected
    assert os.getxattr(site.home / "back/etc/passwd", "user.note") == b"hello"
    assert (site.home / "back/etc/passwd").stat().st_uid == 1234


def test_volumes_tell_who_reads_them_without_starting_anything(site: Site) -> None:
    (volume,) = site.run("file", "volumes", "web01@latest", "--json", LIBGUESTFS_BACKEND_SETTINGS=None).value
    assert (volume["file_system"], volume["reader"], volume["reason"]) == ("squashfs", "libguestfs", None)


def test_where_libguestfs_is_not_installed_it_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['guestfs'] = None\n")
    places = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = site.run("file", "ls", "web01@latest:/", "--json", PYTHONPATH=places)
    assert done.status == 6
    assert done.error["code"] == "not-readable-here"
    assert "SquashFS is not read here" in done.error["message"]
    assert "python3-guestfs" in done.error["message"]


def test_an_appliance_that_does_not_start_is_an_error_that_says_so(site: Site, tmp_path: Path) -> None:
    done = site.run(
        "file", "ls", "web01@latest:/", "--json", LIBGUESTFS_CACHEDIR=str(tmp_path), SUPERMIN_KERNEL="/nowhere"
    )
    assert done.status == 1
    assert done.error["code"] == "no-appliance"
    assert "supermin" in done.error["message"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_appliance_ends_with_the_command(site: Site, number: signal.Signals) -> None:
    with site.start("file", "ls", "web01@latest:/") as command:
        while not (of_appliance := _booting(command.pid)):
            assert command.poll() is None
        command.send_signal(number)
    for process in of_appliance:
        _await_end(process)


def _booting(command: int) -> Sequence[int]:
    """The processes of the appliance that a command has started, once QEMU is one of them."""
    for child in _pids(Path(f"/proc/{command}/task/{command}/children")):
        group = [pid for each in Path("/proc").glob("[0-9]*") if _group(pid := int(each.name)) == child]
        if child != command and any(_name(each).startswith("qemu-system") for each in group):
            return group
    return []


def _pids(path: Path) -> Sequence[int]:
    try:
        return [int(each) for each in path.read_text().split()]
    except OSError:
        return []


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


def _group(process: int) -> int:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return 0


def _await_end(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor) as opened:
        waiting = select.poll()
        waiting.register(opened, select.POLLIN)
        assert waiting.poll(30_000), f"process {process} goes on"
