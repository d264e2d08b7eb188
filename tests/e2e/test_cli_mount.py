"""Restore points served over NBD through the command line, read by the clients that people use."""

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbd
import pytest

from tests.e2e.command import PASSPHRASE, Site
from tests.e2e.test_cli_images import write_disk

MIB = 1 << 20
MOUNT = {
    "id", "kind", "machine", "machine_id", "point", "repository", "disks", "writable", "tls", "socket", "log",
    "process", "created_at", "tenant", "directory", "url",
}  # fmt: skip


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A point of a machine `nas` with the disks `system` and `data`; the images lie beside the repository."""
    site = Site(home=tmp_path_factory.mktemp("site"))
    write_disk(site.home / "system", 24 * MIB + 512, seed=1)
    write_disk(site.home / "data", 16 * MIB, seed=2)
    site.create()
    site.back_up("nas", site.home / "system", site.home / "data")
    return site


@pytest.fixture
def run() -> Iterator[Path]:
    """Where mounts live, under a path that is short enough for sockets; nothing is served there afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        yield Path(place)
        for state in Path(place).glob("*/mount.json"):
            end(json.loads(state.read_bytes())["process"], signal.SIGTERM)


@pytest.fixture
def site(protected: Site, run: Path) -> Site:
    return Site(home=protected.home, environment={"HOLDFAST_RUN": str(run)})


def end(process: int, number: int) -> None:
    """Send a signal and wait until the process is gone."""
    server = os.pidfd_open(process)
    signal.pidfd_send_signal(server, number)
    assert select.select([server], [], [], 30)[0]
    os.close(server)


def create(site: Site, *options: str | Path) -> dict[str, Any]:
    done = site.run("mount", "create", "nas@latest", *options, "--json")
    assert done.status == 0, done.err
    assert set(done.value) == MOUNT
    return dict(done.value)


def listed(site: Site) -> list[dict[str, Any]]:
    return list(site.run("mount", "list", "--json").value)


def holds(site: Site) -> list[Any]:
    return list(site.run("point", "show", "nas@latest", "--json").value["holds"])


def connected(uri: str) -> Any:
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri)
    return handle


def test_every_disk_is_read_byte_for_byte_by_every_client(site: Site, tmp_path: Path) -> None:
    mount = create(site, "--nbd")
    assert [disk["name"] for disk in mount["disks"]] == ["system", "data"]
    for disk in mount["disks"]:
        wanted = (site.home / disk["name"]).read_bytes()
        assert disk["size_bytes"] == len(wanted)
        subprocess.run(["nbdcopy", disk["uri"], tmp_path / "copied"], check=True)
        assert (tmp_path / "copied").read_bytes() == wanted
        subprocess.run(["qemu-img", "convert", "-O", "raw", disk["uri"], tmp_path / "converted"], check=True)
        assert (tmp_path / "converted").read_bytes() == wanted
        assert mapped(disk["uri"], wanted) == len(wanted)
    listing = subprocess.run(["nbdinfo", "--list", "--json", mount["disks"][0]["uri"]], capture_output=True, check=True)
    assert {each["export-name"] for each in json.loads(listing.stdout)["exports"]} == {"system", "data"}


def mapped(uri: str, wanted: bytes) -> int:
    """How many bytes `nbdinfo --map` tells of; what it says to be zeros is."""
    told = json.loads(subprocess.run(["nbdinfo", "--map", "--json", uri], capture_output=True, check=True).stdout)
    zeros = [each for each in told if each["type"] == 3]
    assert zeros
    for each in zeros:
        assert not any(wanted[each["offset"] : each["offset"] + each["length"]])
    return sum(each["length"] for each in told)


def test_a_mount_is_listed_and_holds_its_point_until_it_is_removed(site: Site) -> None:
    before = holds(site)
    mount = create(site, "--nbd")
    assert listed(site) == [mount]
    headings, row = site.run("mount", "list").out.splitlines()
    assert headings.split() == ["MOUNT", "KIND", "MACHINE", "POINT", "SINCE", "RUNS", "WRITES", "URI"]
    assert row.split()[:4] == [mount["id"], "nbd", "nas", mount["point"]]
    assert row.split()[-3:] == ["refused", *(disk["uri"] for disk in mount["disks"])]
    assert [hold["reason"] for hold in holds(site) if hold not in before] == ["being read"]
    assert site.run("mount", "remove", mount["id"][:5]).status == 0
    assert listed(site) == []
    assert holds(site) == before
    assert not Path(mount["socket"]).exists()
    assert site.run("mount", "remove", mount["id"], "--json").error["code"] == "no-mount"


def test_a_server_that_was_killed_is_noticed_and_what_it_left_is_swept(site: Site, run: Path) -> None:
    chosen = run / "chosen"
    mount = create(site, "--nbd", chosen)
    assert mount["socket"] == str(chosen)
    end(mount["process"], signal.SIGKILL)
    assert listed(site) == []
    assert list(run.iterdir()) == []


def test_one_socket_serves_one_mount(site: Site, run: Path) -> None:
    create(site, "--nbd", run / "taken", "--disk", "data")
    assert site.run("mount", "create", "nas@latest", "--nbd", run / "taken", "--json").error["code"] == "address-in-use"
    assert len(listed(site)) == 1


def test_an_only_disk_needs_no_name_and_an_unknown_one_is_refused(site: Site, run: Path) -> None:
    create(site, "--nbd", run / "s", "--disk", "data")
    handle = connected(f"nbd+unix:///?socket={run}/s")
    assert bytes(handle.pread(4096, 0)) == (site.home / "data").read_bytes()[:4096]
    with pytest.raises(nbd.Error):
        connected(f"nbd+unix:///system?socket={run}/s")


def test_an_overlay_takes_writes_and_throws_them_away(site: Site) -> None:
    content = (site.home / "data").read_bytes()
    for _ in range(2):
        mount = create(site, "--nbd", "--disk", "data", "--overlay")
        assert mount["writable"]
        handle = connected(mount["disks"][0]["uri"])
        assert bytes(handle.pread(8192, 4096)) == content[4096:12288]
        handle.pwrite(b"changed!" * 512, 4096)
        assert bytes(handle.pread(8192, 4096)) == b"changed!" * 512 + content[8192:12288]
        del handle
        site.run("mount", "remove", mount["id"])
    read_only = connected(create(site, "--nbd", "--disk", "data")["disks"][0]["uri"])
    assert read_only.is_read_only()
    assert bytes(read_only.pread(4096, 4096)) == content[4096:8192]


def test_an_overlay_is_for_one_disk(site: Site) -> None:
    assert site.run("mount", "create", "nas@latest", "--nbd", "--overlay", "--json").error["code"] == "one-disk"
    assert listed(site) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "localhost.example"])
def test_nothing_leaves_this_host_without_tls(site: Site, host: str) -> None:
    done = site.run("mount", "create", "nas@latest", "--nbd", "--listen", f"{host}:0", "--json")
    assert (done.status, done.error["code"]) == (6, "tls-needed")


def test_loopback_needs_no_tls(site: Site) -> None:
    mount = create(site, "--nbd", "--listen", "127.0.0.1:0", "--disk", "data")
    assert mount["disks"][0]["uri"].startswith("nbd://127.0.0.1:")
    assert mount["socket"] is None
    assert bytes(connected(mount["disks"][0]["uri"]).pread(4096, 0)) == (site.home / "data").read_bytes()[:4096]


def test_with_shared_keys_only_their_holders_read(site: Site, run: Path) -> None:
    keys, wrong = run / "keys", run / "wrong"
    keys.write_text("somebody:" + "ab" * 32 + "\n")
    wrong.write_text("somebody:" + "cd" * 32 + "\n")
    mount = create(site, "--nbd", "--listen", "0.0.0.0:0", "--tls-psk", keys, "--disk", "data")
    port = mount["disks"][0]["uri"].rpartition(":")[2].partition("/")[0]
    assert mount["tls"]
    handle = connected(f"nbds://somebody@127.0.0.1:{port}/data?tls-psk-file={keys}")
    assert bytes(handle.pread(4096, 0)) == (site.home / "data").read_bytes()[:4096]
    for uri in (
        f"nbd://127.0.0.1:{port}/data",
        f"nbds://somebody@127.0.0.1:{port}/data?tls-psk-file={wrong}",
    ):
        with pytest.raises(nbd.Error):
            connected(uri)


def test_no_secret_is_in_the_servers_arguments_environment_or_state(site: Site, run: Path) -> None:
    mount = create(site, "--nbd")
    process = Path(f"/proc/{mount['process']}")
    assert PASSPHRASE.encode() not in (process / "cmdline").read_bytes()
    assert PASSPHRASE.encode() not in (process / "environ").read_bytes()
    state = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert PASSPHRASE.encode() not in state
    (directory,) = run.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_damaged_record_is_an_input_error_and_the_log_says_which(site: Site, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.repository, copy)
    content = (site.home / "data").read_bytes()
    for pack in (copy / "packs").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 100_000:
            blob = bytearray(pack.read_bytes())
            for at in range(50_000, len(blob), 200_000):
                blob[at] ^= 1
            pack.write_bytes(blob)
    mount = create(site, "--nbd", "--disk", "data", "--repository", copy)
    handle = connected(mount["disks"][0]["uri"])
    failed = 0
    for offset in range(0, len(content), 64 * 1024):
        try:
            assert bytes(handle.pread(4096, offset)) == content[offset : offset + 4096]
        except nbd.Error as error:
            assert error.errno == "EIO"
            failed += 1
    assert 0 < failed < len(content) // (64 * 1024)
    assert "no good copy of block" in Path(mount["log"]).read_text()


def test_a_repository_that_is_gone_for_a_while_costs_errors_and_no_mount(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.repository, copy)
    content = (site.home / "data").read_bytes()
    mount = create(site, "--nbd", "--disk", "data", "--repository", copy)
    handle = connected(mount["disks"][0]["uri"])
    copy.rename(tmp_path / "away")
    with pytest.raises(nbd.Error):
        handle.pread(len(content) // 2, 0)
    (tmp_path / "away").rename(copy)
    assert bytes(handle.pread(len(content) // 2, 0)) == content[: len(content) // 2]


def test_nothing_is_left_where_it_could_not_be_served(site: Site, run: Path) -> None:
    lame = run / "bin"
    lame.mkdir()
    before = holds(site)
    (lame / "nbdkit").write_text("#!/bin/sh\necho no such plugin >&2\nexit 1\n")
    (lame / "nbdkit").chmod(0o755)
    done = site.run("mount", "create", "nas@latest", "--nbd", "--json", PATH=f"{lame}:{os.environ['PATH']}")
    assert done.error["code"] == "not-served"
    assert "no such plugin" in done.error["message"]
    assert list(run.iterdir()) == [lame]
    assert holds(site) == before
