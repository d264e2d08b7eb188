"""Domains of libvirt keep the contracts of captures and target disks, and libvirt hosts those of platforms."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import libvirt
import pytest

from holdfast.core.errors import NotFoundError, RefusedError, UnreachableError, UsageError
from holdfast.core.ports import CaptureOptions, DiskPlan, MachinePlan, Platform, TargetDisk
from holdfast.core.progress import Silence
from holdfast.platforms.libvirt import connect
from tests.contract.capture import CaptureContract, Captured
from tests.contract.target_disk import SIZE, Make, TargetDiskContract
from tests.e2e.observed import observe
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest
OPTIONS = CaptureOptions(owner="c0117ac7")
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def platform(host: PrivateHost) -> Iterator[Platform]:
    with connect(host.uri) as connected:
        yield connected


@contextmanager
def captured_twice(platform: Platform, guest: Guest, directory: Path) -> Iterator[Captured]:
    """A second capture, incremental, so that every promise about changes is at stake."""
    with platform.capture(guest.uuid, None, OPTIONS, Silence()) as first:
        before = observe(first, directory / "first")
        first.settle()
    with platform.capture(guest.uuid, before.baseline, OPTIONS, Silence()) as second:
        assert second.disks[0].capture == "incremental"
        yield Captured(capture=second, references=observe(second, directory / "second", before).references)


@pytest.fixture(scope="module")
def running(platform: Platform, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    guest = lab.clone("contract-running", [lab.data_disk("running", size_mib=64)])
    guest.run("dd if=/dev/urandom of=/data/file bs=64k count=50; sync")
    with captured_twice(platform, guest, tmp_path_factory.mktemp("running")) as captured:
        yield captured
    guest.forget()


@pytest.fixture(scope="module")
def stopped(platform: Platform, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    guest = lab.clone("contract-stopped", [lab.data_disk("stopped", size_mib=64)])
    guest.run("dd if=/dev/urandom of=/data/file bs=64k count=50; sync")
    guest.power_off()
    with captured_twice(platform, guest, tmp_path_factory.mktemp("stopped")) as captured:
        yield captured
    guest.forget()


class TestRunningDomain(CaptureContract):
    @pytest.fixture
    def captured(self, running: Captured) -> Captured:
        return running


class TestStoppedDomain(CaptureContract):
    @pytest.fixture
    def captured(self, stopped: Captured) -> Captured:
        return stopped


def definition(disk: Path, extra: str = "") -> bytes:
    return f"""<domain type='qemu'><name>source</name><memory unit='MiB'>64</memory>
      <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
      <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
        <target dev='vda' bus='virtio'/></disk>{extra}
      </devices></domain>""".encode()


def plan(
    storage: Path, *, name: str = "made", extra: str = "", networks: Mapping[str, str] | None = None
) -> MachinePlan:
    return MachinePlan(
        name=name,
        definition=definition(storage / "original.qcow2", extra),
        nvram=None,
        disks=[DiskPlan(name="vda", size_bytes=SIZE, format="qcow2")],
        storage={"": storage},
        networks=networks or {},
    )


class TestDiskOfAMachineToBe(TargetDiskContract):
    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        return tmp_path / "restored-vda.qcow2"

    @pytest.fixture
    def make(self, platform: Platform) -> Iterator[Make]:
        with ExitStack() as machines:

            def make(path: Path) -> TargetDisk:
                target = platform.recreate(plan(path.parent, name="restored"))
                return machines.enter_context(target).disks["vda"]

            yield make

    def read_back(self, path: Path) -> bytes:
        raw = path.with_suffix(".raw")
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
        return raw.read_bytes()


def test_a_machine_is_found_by_identity_or_name(platform: Platform, lab: Lab) -> None:
    guest = lab.clone("found", [lab.data_disk("found", size_mib=64)])
    assert platform.find("found") == platform.find(guest.uuid) == platform.find(guest.uuid.upper()) == guest.uuid
    with pytest.raises(NotFoundError, match="nobody"):
        platform.find("nobody")
    with pytest.raises(NotFoundError), platform.capture(NOBODY, None, OPTIONS, Silence()):
        pass
    guest.forget()


def test_a_name_that_is_anothers_identity_is_ambiguous(platform: Platform, lab: Lab) -> None:
    guest = lab.clone("first", [lab.data_disk("first", size_mib=64)])
    other = lab.connection.defineXML(
        f"<domain type='qemu'><name>{guest.uuid}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    with pytest.raises(UsageError) as refused:
        platform.find(guest.uuid)
    assert "first" in refused.value.message
    assert other.UUIDString() in refused.value.message
    other.undefine()
    guest.forget()


def test_a_host_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot reach"):
        connect(f"qemu+unix:///system?socket={tmp_path}/no-such-socket")


def test_leaving_without_a_definition_leaves_nothing(platform: Platform, tmp_path: Path) -> None:
    with platform.recreate(plan(tmp_path)) as target:
        target.disks["vda"].open_writer().close()
        target.disks["vda"].finish()
        assert [path.name for path in tmp_path.iterdir()] == ["made-vda.qcow2"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFoundError):
        platform.find("made")


def test_a_defined_machine_stays_with_its_files(platform: Platform, lab: Lab, tmp_path: Path) -> None:
    with platform.recreate(plan(tmp_path)) as target:
        target.disks["vda"].finish()
        identity = target.define()
    assert platform.find("made") == identity
    domain = lab.connection.lookupByUUIDString(identity)
    assert str(tmp_path / "made-vda.qcow2") in domain.XMLDesc()
    assert (tmp_path / "made-vda.qcow2").exists()
    lab.connection.defineXMLFlags(domain.XMLDesc(), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    with pytest.raises(RefusedError, match="made exists"), platform.recreate(plan(tmp_path)):
        pass
    domain.undefine()


def test_nothing_that_exists_is_overwritten(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "made-vda.qcow2").write_bytes(b"precious")
    with pytest.raises(RefusedError, match="made-vda"), platform.recreate(plan(tmp_path)):
        pass
    assert (tmp_path / "made-vda.qcow2").read_bytes() == b"precious"


def test_a_network_this_host_has_not_is_refused_before_anything_is_written(platform: Platform, tmp_path: Path) -> None:
    card = "<interface type='network'><source network='office'/></interface>"
    with pytest.raises(RefusedError, match="no network office"), platform.recreate(plan(tmp_path, extra=card)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "two\nlines"])
def test_a_name_that_cannot_be_is_a_mistake(platform: Platform, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError), platform.recreate(plan(tmp_path, name=name)):
        pass
