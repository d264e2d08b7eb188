"""Points of a real guest are tried: what is good is said to be good, what was broken is found, and nothing gets out."""

import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import libvirt
import pytest

from holdfast import mover
from holdfast.core.progress import Silence
from holdfast.platforms.image import capture_images
from holdfast.platforms.image.capture import ImageCapture
from holdfast.repository import LocalDirectory, open_repository
from tests.e2e.command import PASSPHRASE, Site
from tests.e2e.protected import wait_until
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest

DEVICES = "<interface type='user'><model type='virtio'/></interface><video><model type='vga'/></video>"
NETWORK = (
    "for module in $(cat /lib/modules/net); do insmod /lib/modules/$module 2>/dev/null; done\n"
    "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; sleep 1\n"
    "grep -qx 1 /sys/class/net/eth0/carrier || exit 9\n"
)
GATEWAY_ANSWERS = NETWORK + "arping -q -c 1 -w 3 -I eth0 10.0.2.2\n"
NOBODY_ANSWERS = NETWORK + (
    "for host in 10.0.2.2 10.0.2.3 192.168.122.1 127.1.1.1; do\n"
    "  ! arping -q -c 1 -w 1 -I eth0 $host || exit 7\n"
    "done\n"
    "! nc -w 2 10.0.2.2 22 </dev/null 2>/dev/null || exit 8\n"
    "echo nobody answers\n"
)
HANG = r"printf '\364\353\375' | dd of=/dev/vda bs=3 count=1 conv=notrunc 2>/dev/null"
"""A boot loader that halts the processor over and over: nothing ever answers, and nothing says that it is dead."""
SERVICE = "ifconfig lo up; while :; do nc -l -p 8080 -e /bin/true; done 2>/run/nc.log &"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Points of one guest, by what was done to it before each."""

    site: Site
    lab: Lab
    points: dict[str, str]

    def verify(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        """Run it on one point. The status, and the result."""
        done = self.site.run("point", "verify", *arguments, "--json")
        assert done.status in {0, 1, 3}, done.err
        (result,) = done.end["results"]
        return done.status, result

    def start_to_verify(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Begin to try points, one after another and with much patience. Returns once the first one runs."""
        options = ("--boot", "--timeout", "600", "--at-once", "1", "--json")
        process = self.site.start("point", "verify", *arguments, *options)
        wait_until(lambda: bool(self.on_trial()), timeout_s=100)
        return process

    def on_trial(self) -> list[str]:
        """The names of machines on trial that run."""
        names = [domain.name() for domain in self.lab.connection.listAllDomains()]
        return [name for name in names if name.startswith("holdfast-trial-")]

    def mounts(self) -> list[dict[str, Any]]:
        return list(self.site.run("mount", "list", "--json").value)

    def shown(self, name: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.site.run("point", "show", self.points[name], "--json").value
        return shown


def back_up(site: Site, guest: Guest) -> str:
    guest.run("sync")
    done = site.run("backup", guest.name, "--json")
    assert done.status == 0, done.err
    point: str = done.end["results"][0]["point"]
    return point


@dataclass(frozen=True, slots=True, kw_only=True)
class CameFromElsewhere(ImageCapture):
    """A capture of images that are a machine's, of which this is the definition."""

    xml: str

    @property
    def definition(self) -> bytes:
        return self.xml.encode()


def back_up_altered(site: Site, guest: Guest, name: str, disk: Path, what: str, instead: str) -> str:
    """A point of a machine like this guest, but for what its definition says in one place."""
    xml = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    altered, count = re.subn(what, instead, xml, flags=re.DOTALL)
    assert count == 1, xml
    repository = open_repository(LocalDirectory.open(site.repository), PASSPHRASE.encode())
    with capture_images(name, {"vda": disk}) as images:
        known = {field.name: getattr(images, field.name) for field in fields(images)}
        capture = CameFromElsewhere(**known, xml=altered)
        return mover.back_up(capture, repository, parent=None, progress=Silence()).point.id


@pytest.fixture(scope="module")
def trials(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        site = Site(
            home=tmp_path_factory.mktemp("site"), environment={"HOLDFAST_CONNECT": lab.host.uri, "HOLDFAST_RUN": run}
        )
        site.create()
        guest = lab.boot_from_disk("tried", [lab.system_disk("tried")], devices=DEVICES)
        guest.run(GATEWAY_ANSWERS)
        guest.run(f"sed -i '/^trap/i {SERVICE}' /sbin/start; grep -q 8080 /sbin/start")
        other, no_host_has = lab.system_disk("elsewhere"), ("machine='pc-i440fx-[^']*'", "machine='pc-i440fx-99.0'")
        points = {
            "elsewhere": back_up_altered(site, guest, "elsewhere", other, *no_host_has),
            "blind": back_up_altered(
                site, guest, "blind", other, "<video>.*</video>", "<video><model type='none'/></video>"
            ),
        }
        points["good"] = back_up(site, guest)
        guest.run("echo 1 >/sys/fs/ext4/vda2/trigger_fs_error; sleep 1")
        points["file system"] = back_up(site, guest)
        guest.run(HANG)
        points["hangs"] = back_up(site, guest)
        guest.run("dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=notrunc 2>/dev/null; sync")
        points["boot loader"] = back_up(site, guest)
        guest.forget()
        yield Trials(site=site, lab=lab, points=points)


@pytest.fixture
def tight(trials: Trials, tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 24 MiB, here and on the host of the guests."""
    image, directory = tmp_path / "tight.img", tmp_path / "tight"
    directory.mkdir()
    subprocess.run(["truncate", "--size", "24M", image], check=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", image], check=True)
    found = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = found.stdout.strip()
    try:
        subprocess.run(["mount", device, directory], check=True)
        trials.lab.host.execute("mount", device, str(directory))
        yield directory
    finally:
        trials.lab.host.execute("umount", "--lazy", str(directory))
        subprocess.run(["umount", "--lazy", directory], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)


def checks(result: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in result["checks"]}


def test_a_good_point_is_proven_from_inside_and_reaches_nobody(trials: Trials, tmp_path: Path) -> None:
    before = trials.lab.connection.listAllDomains()
    script, picture = tmp_path / "proof.sh", tmp_path / "screen.png"
    script.write_text(NOBODY_ANSWERS)
    status, result = trials.verify(
        trials.points["good"],
        "--boot",
        "--timeout",
        "100",
        "--port",
        "8080",
        "--service",
        "nc",
        "--script",
        script,
        "--picture",
        picture,
    )
    assert (status, result["ok"]) == (0, True), result
    assert checks(result).keys() == {"boot", "file systems", "service nc", "port 8080", "script", "console"}
    assert next(each for each in result["checks"] if each["name"] == "script")["detail"].endswith("nobody answers")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    again = tmp_path / "again.png"
    assert trials.site.run("point", "show", trials.points["good"], "--picture", again).status == 0
    assert again.read_bytes() == picture.read_bytes()
    assert trials.lab.connection.listAllDomains() == before
    assert trials.mounts() == []
    kept = trials.shown("good")["verification"]
    assert kept["ok"]
    assert kept["picture"]
    assert trials.site.run("point", "show", "tried@latest-verified", "--json").value["id"] == trials.points["good"]


def test_a_machine_without_a_screen_is_good_but_a_picture_that_was_wanted_is_missed(
    trials: Trials, tmp_path: Path
) -> None:
    picture = tmp_path / "screen.png"
    never = trials.site.run("point", "show", trials.points["blind"], "--picture", picture, "--json").error
    assert (never["code"], "--boot" in never["hint"]) == ("no-picture", True)
    options = ("--boot", "--timeout", "100", "--picture", picture, "--json")
    done = trials.site.run("point", "verify", trials.points["blind"], *options)
    assert (done.status, done.end["results"][0]["ok"]) == (3, True), done.err
    told = [event["message"] for event in done.events if event["type"] == "warning"]
    assert told == [f"{picture} is not written: blind has no screen"]
    assert "Waiting for the guest (up to 100 s)" in [event.get("step") for event in done.events]
    shown = trials.site.run("point", "show", trials.points["blind"], "--picture", picture, "--json").error
    assert "no screen" in shown["message"]
    assert "--boot" not in shown["hint"]
    assert not picture.exists()


def test_where_a_picture_goes_is_looked_at_before_anything_runs(trials: Trials, tmp_path: Path) -> None:
    for options in (("verify", "--boot"), ("show",)):
        verb, *more = options
        command = ("point", verb, trials.points["good"], *more, "--json", "--picture")
        nowhere = trials.site.run(*command, tmp_path / "no" / "screen.png")
        assert (nowhere.status, nowhere.error["kind"]) == (4, "notfound")
        assert nowhere.error["message"] == f"directory {tmp_path / 'no'} does not exist"
        assert trials.site.run(*command, tmp_path).status == 2
        assert "step" not in nowhere.out


def test_a_point_that_is_on_trial_is_not_tried_a_second_time_meanwhile(trials: Trials) -> None:
    verifying = trials.start_to_verify(trials.points["hangs"])
    try:
        second = trials.site.run("point", "verify", trials.points["hangs"], "--boot", "--json")
        assert (second.status, second.error["code"]) == (9, "on-trial")
        assert second.error["message"] == f"point {trials.points['hangs']} of tried is on trial already"
        assert trials.on_trial() == [f"holdfast-trial-{trials.points['hangs']}"]
    finally:
        verifying.terminate()
        verifying.communicate(timeout=60)


def test_several_are_tried_at_once_and_what_was_broken_is_found_in_each(trials: Trials) -> None:
    """One that fails hurts no other."""
    points = {name: trials.points[name] for name in ("good", "elsewhere", "file system", "boot loader")}
    options = ("--boot", "--timeout", "100", "--at-once", "2", "--json")
    done = trials.site.run("point", "verify", *points.values(), *options)
    assert done.status == 1, done.err
    results = {result["point"]: result for result in done.end["results"]}
    failed = {
        name: {check["name"]: check["detail"] for check in results[point]["checks"] if not check["ok"]}
        for name, point in points.items()
    }
    assert failed["good"] == failed["elsewhere"] == {}
    assert results[points["good"]]["warnings"] == []
    (fitted,) = results[points["elsewhere"]]["warnings"]
    assert "no machine pc-i440fx-99.0" in fitted
    assert failed["file system"].keys() == {"file systems"}
    assert "has counted 1 errors" in failed["file system"]["file systems"]
    assert failed["boot loader"].keys() == {"boot"}
    assert "not a bootable disk" in failed["boot loader"]["boot"]
    assert {name: trials.shown(name)["verification"]["ok"] for name in points} == {
        "good": True,
        "elsewhere": True,
        "file system": False,
        "boot loader": False,
    }


def test_an_interrupted_trial_ends_soon_and_nothing_is_kept_of_it_nor_of_those_that_wait(trials: Trials) -> None:
    before = [trials.shown(name)["verification"] for name in ("hangs", "boot loader")]
    verifying = trials.start_to_verify(trials.points["hangs"], trials.points["boot loader"])
    verifying.send_signal(signal.SIGINT)
    _, err = verifying.communicate(timeout=60)
    assert verifying.returncode == 130
    assert json.loads(err.splitlines()[-1])["error"]["code"] == "interrupted"
    assert trials.on_trial() == []
    assert trials.mounts() == []
    assert [trials.shown(name)["verification"] for name in ("hangs", "boot loader")] == before


def test_neither_machine_nor_server_outlives_a_command_that_is_killed(trials: Trials, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = Path(trials.site.environment["HOLDFAST_RUN"])
    verifying = trials.start_to_verify(trials.points["hangs"], "--scratch", scratch)
    (served,) = trials.mounts()
    server = os.pidfd_open(served["process"])
    verifying.kill()
    verifying.communicate()
    assert select.select([server], [], [], 60)[0]
    os.close(server)
    wait_until(lambda: not trials.on_trial())
    assert trials.mounts() == []
    assert list(run.iterdir()) == []
    assert trials.shown("hangs")["holds"] == []
    assert trials.verify(trials.points["boot loader"], "--boot", "--scratch", scratch)[0] == 1
    assert list(scratch.iterdir()) == []


def test_scratch_space_that_is_full_is_not_held_against_a_point(trials: Trials, tight: Path, tmp_path: Path) -> None:
    before = trials.shown("good")["verification"]
    script = tmp_path / "fill.sh"
    script.write_text("dd if=/dev/urandom of=/filler bs=1M count=64; sync; echo filled\n")
    options = ("--boot", "--timeout", "60", "--script", script, "--scratch", tight, "--json")
    done = trials.site.run("point", "verify", trials.points["good"], *options)
    assert done.status == 1
    assert done.error["kind"] == "full"
    assert str(tight) in done.error["message"]
    assert done.error["hint"]
    assert trials.shown("good")["verification"] == before
    assert trials.on_trial() == []
    assert [path.name for path in tight.iterdir()] == ["lost+found"]


def test_a_repository_that_is_out_of_reach_for_a_while_is_not_held_against_a_point(trials: Trials) -> None:
    """The machine does not come up, but who knows whether it would have?"""
    before = trials.shown("hangs")["verification"]
    run, away = Path(trials.site.environment["HOLDFAST_RUN"]), trials.site.home / "away"
    options = ("--boot", "--timeout", "15", "--json")
    verifying = trials.site.start("point", "verify", trials.points["hangs"], *options)
    wait_until(lambda: bool(list(run.glob("*/mount.json"))), timeout_s=100)
    trials.site.repository.rename(away)
    wait_until(lambda: bool(list(run.glob("*/failed-read"))), timeout_s=100)
    away.rename(trials.site.repository)
    _, err = verifying.communicate(timeout=100)
    assert verifying.returncode == 7, err
    assert json.loads(err.splitlines()[-1])["error"]["code"] == "reads-failed"
    assert trials.shown("hangs")["verification"] == before
    assert trials.on_trial() == []
    assert trials.mounts() == []


def test_without_a_trial_all_that_a_point_holds_is_read_and_damage_is_named(trials: Trials, tmp_path: Path) -> None:
    status, result = trials.verify(trials.points["good"])
    assert (status, result["ok"]) == (0, True)
    assert checks(result) == {"definition": True, "disk vda": True}
    assert result["checks"][1]["detail"].endswith("MiB read and proved")
    hurt = Site(home=tmp_path, environment=trials.site.environment)
    shutil.copytree(trials.site.repository, hurt.repository)
    largest = max((hurt.repository / "packs").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    for at in range(64 * 1024, len(content), 256 * 1024):  # it holds what other points need, too
        content[at] ^= 1
    largest.write_bytes(content)
    done = hurt.run("point", "verify", trials.points["good"], "--json")
    assert done.status == 1
    assert [event["step"] for event in done.events if event["type"] == "step"] == ["Verifying vda"]
    assert not checks(done.end["results"][0])["disk vda"]


def test_files_go_back_into_a_running_guest_and_never_onto_what_is_there(trials: Trials, tmp_path: Path) -> None:
    """Owners, modes, links and large contents; from a point of another state of the same machine."""
    guest = trials.lab.boot("receiver", [trials.lab.data_disk("receiver")])
    guest.run("mkdir /data/before; echo mine >/data/before/kept")
    get = ("file", "get", f"{trials.points['good']}:/usr/sbin", "--volume", "vda2", "--json")
    done = trials.site.run(*get, "--into", "receiver:/data/before")
    assert done.status == 0, done.err
    assert done.end["results"][0]["output"] == "receiver:/data/before/sbin"
    local = tmp_path / "sbin"
    assert trials.site.run(*get, "--output", local).status == 0
    digest = hashlib.sha256((local / "qemu-ga").read_bytes()).hexdigest()
    assert guest.run("sha256sum </data/before/sbin/qemu-ga").split()[0] == digest
    assert (
        guest.run("stat -c %a /data/before/sbin/qemu-ga").strip() == f"{(local / 'qemu-ga').stat().st_mode & 0o7777:o}"
    )
    assert trials.site.run(*get, "--into", "receiver:/data/before").error["code"] == "exists"
    assert trials.site.run(*get, "--into", "receiver:/nowhere").error["kind"] == "notfound"
    assert guest.run("ls -A /data/before").split() == ["kept", "sbin"]
    guest.forget()
