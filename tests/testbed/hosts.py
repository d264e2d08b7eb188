"""Private hypervisor hosts: libvirt and QEMU in namespaces of their own, beside whatever else the machine runs.

A host has its own /run, /etc/libvirt, /var/lib/libvirt, host name, processes and a network of loopback only. All other
files are shared: two hosts and a directory are a cluster with shared storage. A host never outlives the program that
started it.
"""

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import FailedError
from tests.testbed.requirements import require_programs, require_root
from tests.testbed.scratch import scratch_directory

_INIT = Path(__file__).with_name("host-init.sh")
_PROGRAMS = ("bash", "ip", "unshare", "nsenter", "libvirtd", "qemu-system-x86_64")
_START_TIMEOUT_S = 30.0

# Everything runs as root inside the namespaces; what would reach for the machine's own services is off.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
swtpm_user = "root"
swtpm_group = "root"
max_core = 0
"""
_LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
unix_sock_dir = "{sockets}"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""

libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; printing them as well is noise


class PrivateHost:
    """One host whose files are under `state`. After `stop` or `crash` it can `start` again, as a machine does."""

    def __init__(self, name: str, state: Path) -> None:
        self.name = name
        self.state = state
        self._init: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The libvirt URI that reaches this host from outside."""
        return f"qemu+unix:///system?socket={self.state}/run/libvirt/libvirt-sock"

    @property
    def log(self) -> Path:
        """What process 1 and libvirtd said while starting."""
        return self.state / "init.log"

    def start(self) -> None:
        """Bring the host up. Raises RefusedError if something is missing, FailedError with the log's end otherwise."""
        require_root("a private libvirt host")
        require_programs(_PROGRAMS, "a private libvirt host")
        self._write_settings()
        command = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        with self.log.open("wb") as log:
            self._init = subprocess.Popen(
                [*command, "bash", str(_INIT), str(self.state), self.name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we then take the host down in order
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.crash()
            raise

    def stop(self) -> None:
        """Take the host down; its guests lose power. Does nothing if it is down."""
        if self._init is None:
            return
        assert self._init.stdin is not None
        self._init.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._init.wait(timeout=10)
        self.crash()

    def crash(self) -> None:
        """Sudden death of every process of the host; the page cache survives. Does nothing if it is down."""
        if self._init is None:
            return
        self._init.kill()
        self._init.wait()
        if self._init.stdin is not None:
            self._init.stdin.close()
        self._init = None
        self._wait_until_dead()

    def execute(self, *command: str) -> str:
        """Run a command inside the host and return what it printed. Raises FailedError if it fails."""
        inside = ["nsenter", "--target", str(self._init_pid()), "--mount", "--net", "--uts", "--ipc", "--pid"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise FailedError(f"host {self.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def kill_daemon(self) -> None:
        """Kill libvirtd at once (signal 9); the guests run on."""
        self.execute("sh", "-c", "kill -KILL $(cat /run/libvirtd.pid)")

    def start_daemon(self) -> None:
        """Start libvirtd again after `kill_daemon`, and wait until it answers."""
        self.execute("sh", "-c", "libvirtd --config /etc/libvirt/libvirtd.conf --daemon </dev/null >/dev/null 2>&1")
        self._wait_until_up()

    def connect(self) -> Any:
        """A new libvirt connection; the caller closes it."""
        return libvirt.open(self.uri)

    def _write_settings(self) -> None:
        settings = self.state / "etc/libvirt"
        settings.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.state / "run", ignore_errors=True)  # a boot starts with an empty /run
        (self.state / "init.pid").unlink(missing_ok=True)
        host_uuid = uuid.uuid5(uuid.NAMESPACE_OID, str(self.state))
        (settings / "qemu.conf").write_text(_QEMU_CONF)
        (settings / "libvirtd.conf").write_text(
            _LIBVIRTD_CONF.format(host_uuid=host_uuid, sockets=self.state / "run/libvirt")
        )

    def _wait_until_up(self) -> None:
        assert self._init is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._init.poll() is None and time.monotonic() < deadline:
            if (self.state / "init.pid").exists():
                with suppress(libvirt.libvirtError):
                    self.connect().close()
                    return
            time.sleep(0.05)
        raise FailedError(
            f"the private host {self.name} did not start: {self._last_words()}",
            hint="it needs the right to make namespaces (unshare) and to mount; some containers withhold it",
            code="host-not-started",
        )

    def _wait_until_dead(self) -> None:
        """Process 1 goes last, so when it is gone no guest of the host holds a file any more."""
        marker = self.state / "init.pid"
        if not marker.exists():
            return
        process_1 = Path("/proc") / marker.read_text().strip()
        marker.unlink()
        deadline = time.monotonic() + 10
        while process_1.exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _init_pid(self) -> int:
        if self._init is None:
            raise FailedError(f"the private host {self.name} is down")
        return int((self.state / "init.pid").read_text())

    def _last_words(self) -> str:
        texts = [
            path.read_text(errors="replace")
            for path in (self.log, self.state / "var/log/libvirt/libvirtd.log")
            if path.exists()
        ]
        lines = [line for text in texts for line in text.splitlines()]
        return " / ".join(lines[-5:]) or "it said nothing"


@contextmanager
def private_host(name: str = "lab") -> Iterator[PrivateHost]:
    """A running host with a state directory of its own; both are gone afterwards, whatever happens inside."""
    with scratch_directory() as directory:
        host = PrivateHost(name, directory / name)
        host.start()
        try:
            yield host
        finally:
            host.stop()
