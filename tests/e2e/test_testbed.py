"""The test bed keeps its promises: what it starts is private, what it clones is a machine of its own, nothing stays."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.core.errors import FailedError
from tests.testbed.hosts import PrivateHost, private_host
from tests.testbed.lab import Lab

pytestmark = pytest.mark.guest
REPOSITORY_ROOT = Path(__file__).parents[2]
SMALLEST_DOMAIN = "<domain type='qemu'><name>d</name><memory>1024</memory><os><type>hvm</type></os></domain>"


def test_a_clone_has_its_own_name_disk_and_identity(lab: Lab) -> None:
    one = lab.clone("one", [lab.data_disk("one")])
    two = lab.clone("two", [lab.data_disk("two", image_format="raw")])
    one.run("echo only here >/data/mark; sync")
    assert one.run("hostname") == "one\n"
    assert two.run("hostname; ls /data") == "two\nlost+found\n"
    assert one.uuid != two.uuid
    one.forget()
    two.forget()


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_system_disk_boots_by_itself(lab: Lab, firmware: str) -> None:
    guest = lab.boot_from_disk(f"boots-{firmware}", [lab.system_disk("system", firmware=firmware)], firmware=firmware)
    assert "/dev/vda2 / ext4" in guest.run("cat /proc/mounts")
    guest.forget()


def test_what_the_writer_finished_verifies_and_a_damaged_file_is_named(lab: Lab) -> None:
    guest = lab.clone("writes", [lab.data_disk("writes")])
    guest.start_writer()
    guest.stop_writer()
    assert guest.check_written() > 0
    guest.run("printf x | dd of=/data/steady/file-1 bs=1 seek=500 conv=notrunc")
    with pytest.raises(FailedError, match="damaged: /data/steady/file-1"):
        guest.check_written()
    guest.forget()


def test_a_host_sees_only_its_own_processes_and_machines(host: PrivateHost) -> None:
    with private_host("other") as other:
        assert other.execute("hostname") == "other\n"
        assert host.execute("hostname") == "lab\n"
        connection = other.connect()
        assert connection.listAllDomains() == []
        connection.close()


def test_a_crashed_host_comes_back_with_its_definitions() -> None:
    with private_host("fragile") as fragile:
        connection = fragile.connect()
        connection.defineXML(SMALLEST_DOMAIN)
        fragile.crash()
        fragile.start()
        again = fragile.connect()
        assert again.lookupByName("d").isActive() == 0
        again.close()


def test_a_host_dies_with_the_program_that_started_it() -> None:
    program = (
        "from tests.testbed.hosts import private_host\n"
        "with private_host('orphan') as host:\n"
        "    print(host.state, flush=True)\n"
        "    input()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY_ROOT
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    state = Path(owner.stdout.readline().strip())
    process_1 = Path("/proc") / (state / "init.pid").read_text().strip()
    assert process_1.exists()
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    deadline = time.monotonic() + 10
    while process_1.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(state.parent)
    assert not process_1.exists()
