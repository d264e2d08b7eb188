"""A real guest is brought back in place: only what differs is written, and its increments go on being right."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from holdfast.platforms.files.locks import is_in_use
from holdfast.platforms.files.qcow2 import read_qcow2
from tests.e2e.command import Finished, Site
from tests.e2e.protected import image_of, shut_down, switch_on
from tests.testbed.domains import disk_xml
from tests.testbed.guest import Guest
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice:
    """A guest with two points; between them it wrote anew what it had, and removed something."""

    site: Site
    lab: Lab
    guest: Guest
    first: str
    second: str

    @property
    def image(self) -> Path:
        return image_of(self.guest)

    def back_up(self) -> dict[str, Any]:
        done = self.site.run("backup", self.guest.name, "--json")
        assert done.status == 3, done.err  # it boots from its host's kernel, which no point holds
        (result,) = done.end["results"]
        return dict(result)

    def restore(self, point: str, *options: str) -> Finished:
        return self.site.run("restore", "machine", point, "--in-place", *options, "--json")

    def is_at(self, point: str, image: Path | None = None) -> bool:
        """Whether the image holds what a whole restore of the point holds."""
        reference = self.site.home / f"{point}.raw"
        if not reference.exists():
            assert self.site.run("restore", "disk", point, "--output", reference).status == 0
        compared = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", str(reference), str(image or self.image)]
        return subprocess.run(compared, check=False).returncode == 0


@pytest.fixture(scope="module")
def twice(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twice]:
    site = Site(home=tmp_path_factory.mktemp("site"), environment={"HOLDFAST_CONNECT": lab.host.uri})
    site.create()
    guest = lab.clone("inplace", [lab.data_disk("inplace", size_mib=128)])
    it = Twice(site=site, lab=lab, guest=guest, first="", second="")
    guest.run(
        "dd if=/dev/urandom of=/data/one bs=64k count=160; dd if=/dev/urandom of=/data/gone bs=64k count=32; sync"
    )
    first = it.back_up()["point"]
    guest.run("dd if=/dev/urandom of=/data/one bs=64k count=40 conv=notrunc; rm /data/gone; echo 2 >/data/two; sync")
    second = it.back_up()["point"]
    shut_down(guest)
    yield Twice(site=site, lab=lab, guest=guest, first=first, second=second)
    guest.forget()


def test_a_machine_goes_back_and_forth_and_its_increments_go_on(twice: Twice) -> None:
    switch_on(twice.guest)
    assert twice.restore(twice.first).error["code"] == "running"
    twice.guest.run("dd if=/dev/urandom of=/data/three bs=64k count=16; sync")
    shut_down(twice.guest)
    assert twice.restore(twice.second).status == 0

    preview = twice.restore(twice.first, "--dry-run").end["results"][0]
    (disk,) = preview["disks"]
    assert (preview["dry_run"], preview["written_bytes"], disk["tracked"]) == (True, 0, True)
    assert 40 * 65536 < disk["different_bytes"] < 16 * MIB
    assert disk["compared_bytes"] < 16 * MIB
    assert disk["extents"] > 0
    assert not twice.is_at(twice.first)

    done = twice.restore(twice.first)
    assert done.status == 0, done.err
    (result,) = done.end["results"]
    assert result["written_bytes"] == disk["different_bytes"]
    assert (result["machine_id"], result["output"], result["started"]) == (twice.guest.uuid, "inplace", False)
    assert twice.is_at(twice.first)
    assert twice.restore(twice.first, "--dry-run").end["results"][0]["disks"][0]["different_bytes"] == 0

    after = twice.back_up()
    assert after["capture"] == "incremental", after["disks"]
    assert twice.is_at(after["point"])

    started = twice.restore(twice.second, "--start").end["results"][0]
    assert started["seconds_to_agent"] is not None
    assert twice.guest.run("cat /data/two") == "2\n"
    twice.guest.run("echo 4 >/data/four; sync")
    assert twice.back_up()["capture"] == "incremental"
    shut_down(twice.guest)
    last = twice.back_up()
    assert last["capture"] == "incremental", last["disks"]
    assert twice.is_at(last["point"])


def test_a_machine_that_was_cut_off_half_written_neither_starts_nor_is_backed_up_until_it_is_whole(
    twice: Twice,
) -> None:
    aside = twice.image.with_name(f"{twice.image.name}.restoring")
    killed = twice.site.start("restore", "machine", twice.first, "--in-place", "--json", "--limit-rate", "2MiB")
    deadline = time.monotonic() + 60
    while not (aside.exists() and "Restoring" in read_line(killed)):
        assert time.monotonic() < deadline
    while not is_written(aside):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    await_free(aside, deadline)

    with pytest.raises(libvirt.libvirtError, match="No such file"):
        twice.guest.domain.create()
    refused = twice.site.run("backup", twice.guest.name, "--json")
    assert refused.end["results"][0]["error"]["code"] == "half-restored", refused.out
    assert str(aside) in refused.end["results"][0]["error"]["message"]

    preview = twice.restore(twice.first, "--dry-run").end["results"][0]["disks"][0]
    assert preview["tracked"]
    assert preview["different_bytes"] > 0
    done = twice.restore(twice.first)
    assert done.status == 0, done.err
    assert not aside.exists()
    assert twice.is_at(twice.first)
    after = twice.back_up()
    assert after["capture"] == "incremental", after["disks"]
    assert twice.is_at(after["point"])


def read_line(process: subprocess.Popen[str]) -> str:
    """What it prints next."""
    assert process.stdout is not None
    return process.stdout.readline()


def is_written(image: Path) -> bool:
    """Whether its bitmaps are marked as in use, as they are from the first write on."""
    return any(bitmap.in_use for bitmap in read_qcow2(image).bitmaps)


def await_free(image: Path, deadline: float) -> None:
    """Until the server of a killed restore has noticed that, and has gone."""
    while is_in_use(image):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_disk_goes_into_a_machine_as_a_further_one_or_onto_its_own(twice: Twice) -> None:
    site, name = twice.site, twice.guest.name
    added = site.run("restore", "disk", twice.first, "--into", name, "--json")
    assert added.status == 0, added.err
    (result,) = added.end["results"]
    ((disk),) = result["disks"]
    assert (disk["name"], result["restored_id"]) == ("vdb", twice.guest.uuid)
    assert Path(disk["output"]) == twice.image.parent / "inplace-vdb.qcow2"
    domain = twice.guest.domain
    assert f"<source file='{disk['output']}'/>" in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)

    onto = ["restore", "disk", twice.second, "--into", name, "--replace", "vdb", "--json"]
    preview = site.run(*onto, "--dry-run").end["results"][0]["disks"][0]
    assert (preview["tracked"], preview["name"]) == (False, "vdb")
    assert site.run(*onto).end["results"][0]["written_bytes"] == preview["different_bytes"] > 0
    assert twice.is_at(twice.second, Path(disk["output"]))

    domain.detachDeviceFlags(disk_xml(Path(disk["output"]), "vdb"), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    Path(disk["output"]).unlink()


def test_disks_that_somebody_has_open_or_that_have_another_size_are_refused(twice: Twice) -> None:
    writer = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(twice.image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        writer.stdin.write("length\n")
        writer.stdin.flush()
        writer.stdout.readline()
        assert twice.restore(twice.first).error["code"] == "in-use"
    finally:
        writer.communicate("quit\n")
    kept = twice.image.rename(twice.image.with_suffix(".kept"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(twice.image), "160M"], check=True)
    assert twice.restore(twice.first).error["code"] == "geometry"
    kept.rename(twice.image)
    assert [path for path in twice.image.parent.iterdir() if path.suffix == ".restoring"] == []
