"""What goes wrong during a capture ends in a clear error or a safe point; the guest runs on, and nothing is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from holdfast.core.errors import ConflictError, FailedError, FullError, HoldfastError, RefusedError, UnreachableError
from holdfast.core.ports import Capture, Platform
from holdfast.platforms.files.qcow2 import read_qcow2
from holdfast.platforms.libvirt import connect
from tests.e2e.protected import OPTIONS, Listener, Protected, image_of, shut_down, switch_on, wait_until
from tests.testbed.guest import Guest
from tests.testbed.hosts import PrivateHost, private_host
from tests.testbed.lab import Lab, open_lab
from tests.testbed.scratch import scratch_directory

pytestmark = pytest.mark.guest

ANOTHER_HOLDFAST = """
import sys
from holdfast.core.ports import Baseline, CaptureOptions
from holdfast.core.progress import Silence
from holdfast.platforms.files.qcow2 import read_qcow2
from holdfast.platforms.libvirt import connect
with connect(sys.argv[1]) as platform:
    with platform.capture(sys.argv[2], None, CaptureOptions(owner=sys.argv[3]), Silence()) as capture:
        print("captured", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def platform(host: PrivateHost) -> Iterator[Platform]:
    with connect(host.uri) as connected:
        yield connected


@pytest.fixture
def guest(lab: Lab) -> Iterator[Guest]:
    made = lab.clone("faulty", [lab.data_disk("faulty", size_mib=64)])
    made.run("dd if=/dev/urandom of=/data/old bs=64k count=400; sync")
    yield made
    made.forget()


@pytest.fixture
def it(platform: Platform, guest: Guest, tmp_path: Path) -> Protected:
    return Protected(platform, guest, tmp_path)


def has_job(guest: Guest) -> bool:
    return bool(guest.domain.isActive()) and guest.domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE


def assert_nothing_is_left(guest: Guest) -> None:
    """No job, no workspace beside the disk, and no checkpoint that was not there before."""
    assert not has_job(guest)
    assert list(image_of(guest).parent.glob("holdfast-*")) == []
    assert guest.domain.listAllCheckpoints() == []


def read_all(capture: Capture) -> None:
    reader = capture.disks[0].open_reader()
    buffer = memoryview(bytearray(1 << 16))
    for start, end in capture.disks[0].data():
        for offset in range(start, end, len(buffer)):
            reader.read_into(offset, buffer[: min(len(buffer), end - offset)])


def another_holdfast(host: PrivateHost, guest: Guest, owner: str = OPTIONS.owner) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER_HOLDFAST, host.uri, guest.uuid, owner],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "captured\n"
    return process


@pytest.mark.parametrize("owner", [OPTIONS.owner, "ffffffff"])
def test_the_job_of_a_killed_holdfast_is_ended_and_its_leavings_removed(
    it: Protected, host: PrivateHost, owner: str
) -> None:
    it.capture()
    killed = another_holdfast(host, it.guest, owner)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert has_job(it.guest)
    it.capture()
    assert it.captures == ["full", "incremental"]
    assert not has_job(it.guest)
    assert list(image_of(it.guest).parent.glob("holdfast-*")) == []
    assert sum(name.startswith(f"holdfast-{OPTIONS.owner}-") for name in it.checkpoints()) == 1


@pytest.mark.parametrize("started_since", [False, True])
def test_the_bitmaps_of_a_holdfast_killed_at_a_stopped_machine_are_removed(
    it: Protected, host: PrivateHost, *, started_since: bool
) -> None:
    shut_down(it.guest)
    it.capture()
    killed = another_holdfast(host, it.guest)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert len(read_qcow2(image_of(it.guest)).bitmaps) == 2
    if started_since:
        switch_on(it.guest)
    it.capture()
    assert it.captures == ["full", "incremental"]
    assert len(it.checkpoints()) == 1
    if started_since:
        shut_down(it.guest)
    assert [bitmap.name for bitmap in read_qcow2(image_of(it.guest)).bitmaps] == it.checkpoints()


def test_a_machine_that_another_holdfast_captures_is_left_alone(it: Protected, host: PrivateHost) -> None:
    other = another_holdfast(host, it.guest)
    try:
        start = time.monotonic()
        with pytest.raises(ConflictError, match="faulty"):
            it.capture()
        assert time.monotonic() - start < 5
        assert other.poll() is None
        assert has_job(it.guest)
    finally:
        other.communicate()
    assert_nothing_is_left(it.guest)


def test_somebody_elses_backup_job_is_left_alone(it: Protected, tmp_path: Path) -> None:
    theirs = (
        f"<domainbackup mode='pull'><server transport='unix' socket='{tmp_path}/s'/><disks><disk name='vda'>"
        f"<scratch file='{tmp_path}/scratch'/></disk></disks></domainbackup>"
    )
    it.guest.domain.backupBegin(theirs, None)
    with pytest.raises(ConflictError, match="another backup of faulty"):
        it.capture()
    it.guest.domain.abortJob()
    wait_until(lambda: not has_job(it.guest))
    it.capture()


def test_a_guest_that_is_switched_off_midway_ends_the_capture(it: Protected) -> None:
    with it.platform.capture(it.guest.uuid, None, OPTIONS, Listener()) as capture:
        read_all(capture)
        it.guest.power_off()
        with pytest.raises(FailedError, match="faulty was switched off while it was backed up"):
            read_all(capture)
        with pytest.raises(FailedError, match="switched off"):
            capture.confirm()
    assert_nothing_is_left(it.guest)


def test_a_guest_that_was_restarted_midway_is_not_taken_for_the_same(it: Protected) -> None:
    with it.platform.capture(it.guest.uuid, None, OPTIONS, Listener()) as capture:
        it.guest.power_off()
        switch_on(it.guest)
        with pytest.raises(FailedError):
            capture.confirm()
    assert_nothing_is_left(it.guest)


def test_a_job_that_somebody_ends_midway_ends_the_capture(it: Protected) -> None:
    with it.platform.capture(it.guest.uuid, None, OPTIONS, Listener()) as capture:
        it.guest.domain.abortJob()
        wait_until(lambda: not has_job(it.guest))
        with pytest.raises(FailedError, match="ended by somebody else"):
            read_all(capture)
        with pytest.raises(FailedError, match="ended by somebody else"):
            capture.confirm()
    assert_nothing_is_left(it.guest)


def test_a_stopped_machine_that_is_started_midway_wins(it: Protected) -> None:
    shut_down(it.guest)
    with it.platform.capture(it.guest.uuid, None, OPTIONS, Listener()) as capture:
        read_all(capture)
        capture.confirm()
        switch_on(it.guest)
        with pytest.raises(FailedError, match="faulty was started while it was read"):
            capture.confirm()
    assert_nothing_is_left(it.guest)
    it.capture()


def test_a_stopped_machine_that_ran_for_a_moment_meanwhile_is_noticed(it: Protected) -> None:
    shut_down(it.guest)
    with it.platform.capture(it.guest.uuid, None, OPTIONS, Listener()) as capture:
        it.guest.domain.create()
        it.guest.power_off()
        with pytest.raises(FailedError, match="changed while it was read"):
            capture.confirm()
    assert_nothing_is_left(it.guest)


def test_a_stopped_machine_whose_image_is_in_use_is_refused(it: Protected) -> None:
    shut_down(it.guest)
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", image_of(it.guest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        with pytest.raises(ConflictError, match="in use by another process"):
            it.capture()
        other.communicate()
    assert_nothing_is_left(it.guest)


FREEZE_HOOK = "/etc/qemu/fsfreeze-hook.d/test"


def at_freeze(guest: Guest, script: str) -> None:
    """Have the guest run a script when it is asked to freeze, before its agent does."""
    guest.run(
        f"mkdir -p {Path(FREEZE_HOOK).parent}; printf '#!/bin/sh\\n[ \"$1\" = freeze ] || exit 0\\n%s\\n' "
        f"'{script}' >{FREEZE_HOOK}; chmod +x {FREEZE_HOOK}"
    )


def writes_again(guest: Guest) -> bool:
    try:
        return guest.run("echo alive >/data/alive; sync; cat /data/alive", timeout_s=5) == "alive\n"
    except (libvirt.libvirtError, HoldfastError):
        return False


def test_an_agent_that_hangs_in_the_freeze_costs_consistency_but_not_the_guest(it: Protected) -> None:
    at_freeze(it.guest, "sleep 4")
    start = time.monotonic()
    it.capture(replace(OPTIONS, freeze_timeout_s=1))
    assert it.consistency == "crash"
    assert any("not frozen" in warning for warning in it.warnings)
    assert any("is thawed" in warning for warning in it.warnings)
    assert time.monotonic() - start < 25
    assert writes_again(it.guest)


def test_an_agent_that_stops_for_good_is_reported_and_required_quiescing_fails(
    it: Protected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platforms.libvirt.quiesce._LAST_WAIT_S", 3.0)
    at_freeze(it.guest, "kill -STOP $(pidof qemu-ga)")
    heard = Listener()
    options = replace(OPTIONS, freeze_timeout_s=1, require_quiesce=True)
    with (
        pytest.raises(FailedError, match="not frozen"),
        it.platform.capture(it.guest.uuid, None, options, heard),
    ):
        pass
    assert any("may still be frozen" in warning for warning in heard.warnings)
    assert_nothing_is_left(it.guest)


def test_a_freeze_that_outlives_its_deadline_is_ended_and_not_called_consistent(it: Protected) -> None:
    options = replace(OPTIONS, freeze_timeout_s=0.001)  # no guest freezes as fast
    it.capture(options)
    assert it.consistency == "crash"
    assert any("crash-consistent" in warning for warning in it.warnings)
    with pytest.raises(FailedError, match="frozen"):
        it.capture(replace(options, require_quiesce=True))
    assert writes_again(it.guest)
    assert len(it.checkpoints()) == 1


def test_a_guest_without_an_answering_agent_gives_a_crash_consistent_point_or_none(it: Protected) -> None:
    it.guest.domain.suspend()
    with pytest.raises(FailedError, match="paused"):
        it.capture(replace(OPTIONS, require_quiesce=True))
    assert_nothing_is_left(it.guest)
    it.capture()
    assert it.consistency == "crash"
    assert it.freeze_ms is None
    assert any("crash-consistent" in warning for warning in it.warnings)
    it.guest.domain.resume()
    it.capture(replace(OPTIONS, quiesce=False))
    assert it.consistency == "crash"
    assert not any("crash-consistent" in warning for warning in it.warnings)
    it.capture()
    assert it.consistency == "filesystem"
    assert it.freeze_ms is not None
    assert 0 < it.freeze_ms < 5000


def test_a_machine_that_was_cut_off_cannot_be_called_consistent(it: Protected) -> None:
    it.guest.power_off()
    with pytest.raises(FailedError, match="cleanly is not known"):
        it.capture(replace(OPTIONS, require_quiesce=True))
    it.capture()
    assert it.consistency == "crash"


def test_the_scratch_limit_ends_the_backup_and_not_the_guest(it: Protected) -> None:
    options = replace(OPTIONS, scratch_limit_bytes=2 << 20)
    with it.platform.capture(it.guest.uuid, None, options, Listener()) as capture:
        it.guest.run("dd if=/dev/urandom of=/data/old bs=64k count=100 conv=notrunc; sync")
        wait_until(lambda: not has_job(it.guest), 10)
        with pytest.raises(FullError, match="limit of 2097152 bytes") as full:
            read_all(capture)
        assert "--scratch-limit" in full.value.hint
        with pytest.raises(FullError):
            capture.confirm()
    assert it.guest.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert writes_again(it.guest)
    assert_nothing_is_left(it.guest)


def test_scratch_that_cannot_fit_is_refused_before_anything_begins(it: Protected, tmp_path: Path) -> None:
    with pytest.raises(FullError, match="scratch files for vda need"):
        it.capture(replace(OPTIONS, scratch=tmp_path, scratch_limit_bytes=1 << 60))
    with pytest.raises(HoldfastError, match="nowhere"):
        it.capture(replace(OPTIONS, scratch=tmp_path / "nowhere"))
    assert_nothing_is_left(it.guest)


def test_scratch_goes_where_it_is_wanted(it: Protected) -> None:
    with scratch_directory() as elsewhere:
        options = replace(OPTIONS, scratch=elsewhere)
        with it.platform.capture(it.guest.uuid, None, options, Listener()):
            assert len(list(elsewhere.glob("holdfast-*/vda.qcow2"))) == 1
            assert list(image_of(it.guest).parent.glob("holdfast-*")) == []
        assert list(elsewhere.iterdir()) == []


def test_disks_that_cannot_be_captured_are_named_and_the_others_are(
    platform: Platform, lab: Lab, tmp_path: Path
) -> None:
    shared, fixed, medium = (lab.data_disk(name, size_mib=16, image_format="raw") for name in ("shared", "fixed", "cd"))
    devices = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{shared}'/>"
        "<target dev='vdx' bus='virtio'/><shareable/></disk>"
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{fixed}'/>"
        "<target dev='vdy' bus='virtio'/><readonly/></disk>"
        f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{medium}'/>"
        "<target dev='hdc' bus='ide'/><readonly/></disk>"
        "<disk type='file' device='cdrom'><target dev='hdd' bus='ide'/><readonly/></disk>"
    )
    guest = lab.boot("varied", [lab.data_disk("varied", size_mib=64)], devices=devices)
    it = Protected(platform, guest, tmp_path)
    for _ in range(2):
        it.capture()
        assert list(it.reasons) == ["vda"]
        assert any("vdx" in warning and "shared" in warning for warning in it.warnings)
        assert any("vdy" in warning and "read-only" in warning for warning in it.warnings)
        assert not any("hdc" in warning or "hdd" in warning for warning in it.warnings)
    assert it.captures == ["full", "incremental"]
    guest.forget()


def test_a_machine_without_a_disk_to_capture_is_refused(platform: Platform, lab: Lab) -> None:
    domain = lab.connection.defineXML(
        "<domain type='qemu'><name>diskless</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    with (
        pytest.raises(RefusedError, match="diskless has no disk"),
        platform.capture(domain.UUIDString(), None, OPTIONS, Listener()),
    ):
        pass
    domain.undefine()


@pytest.fixture(scope="module")
def small_host() -> Iterator[tuple[PrivateHost, Lab, Path]]:
    """A host of its own, to be maltreated, with a small file system that only it and this process share."""
    with scratch_directory() as small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", small], check=True)
        try:
            with private_host("small") as host, open_lab(host) as lab:
                yield host, lab, small
        finally:
            subprocess.run(["umount", small], check=True)


def test_a_guest_that_finds_the_scratch_space_full_is_made_to_run_again(
    small_host: tuple[PrivateHost, Lab, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platforms.libvirt.watch._EVERY_S", 600)  # as if the guest were that much faster
    host, lab, small = small_host
    guest = lab.clone("faster", [lab.data_disk("faster", size_mib=192)])
    guest.run("dd if=/dev/urandom of=/data/old bs=1M count=120; sync", timeout_s=120)
    heard = Listener()
    with connect(host.uri) as platform:
        with platform.capture(guest.uuid, None, replace(OPTIONS, scratch=small), heard):
            overwrite = "dd if=/dev/zero of=/data/old bs=1M count=120 conv=notrunc; sync; touch /run/done"
            guest.agent("guest-exec", {"path": "/bin/sh", "arg": ["-c", overwrite]})
            stalled = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
            wait_until(lambda: guest.domain.state() == stalled, 60)
        assert guest.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        assert any("was paused for want of scratch space" in warning for warning in heard.warnings)
    guest.run("until [ -e /run/done ]; do sleep 0.1; done; dmesg | grep -i 'i/o error' && exit 1; exit 0")
    assert_nothing_is_left(guest)


def test_a_libvirt_that_dies_midway_costs_the_capture_and_nothing_else(
    small_host: tuple[PrivateHost, Lab, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platforms.libvirt.job._RESTART_S", 1.0)
    heard = Listener()
    host, lab, _ = small_host
    guest = lab.clone("orphan", [lab.data_disk("orphan", size_mib=64)])
    with connect(host.uri) as platform:
        it = Protected(platform, guest, tmp_path)
        it.capture()
        with platform.capture(guest.uuid, it.latest.baseline if it.latest else None, OPTIONS, heard) as capture:
            host.kill_daemon()
            with pytest.raises(UnreachableError):
                capture.confirm()
    assert any("virsh domjobabort orphan" in warning for warning in heard.warnings)
    host.start_daemon()
    lab.connection = host.connect()
    with connect(host.uri) as platform:
        it.platform, it.guest = platform, lab.find("orphan")
        it.guest.wait_for_agent()
        it.guest.run("dd if=/dev/urandom of=/data/new bs=64k count=5; sync")
        it.capture()
    assert it.captures == ["full", "incremental"]
    assert len(it.checkpoints()) == 1


def test_the_job_is_ended_by_a_libvirt_that_comes_back_in_time(
    small_host: tuple[PrivateHost, Lab, Path],
) -> None:
    host, lab, _ = small_host
    guest = lab.clone("kept", [lab.data_disk("kept", size_mib=64)])
    heard = Listener()
    back = threading.Timer(2, host.start_daemon)
    with connect(host.uri) as platform, platform.capture(guest.uuid, None, OPTIONS, heard):
        host.kill_daemon()
        back.start()
    back.join()
    lab.connection = host.connect()
    guest = lab.find("kept")
    assert guest.domain.isActive()
    assert not has_job(guest)
    assert list(image_of(guest).parent.glob("holdfast-*")) == []
    assert not any("domjobabort" in warning for warning in heard.warnings)


def test_an_agent_that_dies_in_the_freeze_is_reported_with_the_way_out(
    small_host: tuple[PrivateHost, Lab, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.platforms.libvirt.quiesce._LAST_WAIT_S", 2.0)
    monkeypatch.setattr("holdfast.platforms.libvirt.job._END_S", 1.0)  # libvirt would take another minute
    host, lab, _ = small_host
    guest = lab.clone("stunned", [lab.data_disk("stunned", size_mib=64)])
    at_freeze(
        guest,
        "(until [ -e /run/qga.state.isfrozen ]; do usleep 1000; done; usleep 20000; kill -KILL $(pidof qemu-ga)) "
        ">/dev/null 2>&1 &",
    )
    heard = Listener()
    with connect(host.uri) as platform, platform.capture(guest.uuid, None, OPTIONS, heard) as capture:
        capture.confirm()
    assert any("may still be frozen" in warning and "restart libvirt's daemon" in warning for warning in heard.warnings)
    host.kill_daemon()
    host.start_daemon()
    lab.connection = host.connect()
    guest = lab.find("stunned")
    guest.wait_for_agent()
    guest.domain.fsThaw()
    wait_until(lambda: writes_again(guest))
