"""A real object store on loopback: Ceph's S3 gateway over one monitor and one store in memory.

Nothing of it outlives the program that started it, not even one that is killed.
"""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

from holdfast.core.access import S3Credentials, S3Settings
from holdfast.core.errors import FailedError
from holdfast.repository.storage.objects import ObjectStorage
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.providers import open_s3
from tests.testbed.requirements import require_programs
from tests.testbed.scratch import scratch_directory
from tests.testbed.signing import signed

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph-authtool", "setpriv")
_START_TIMEOUT_S = 90.0
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_REGION = "us-east-1"

_CONF = """\
[global]
fsid = {cluster}
run dir = {state}
admin socket = {state}/$name.asok
pid file =
log file = {state}/$name.log
keyring = {state}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
mon host = {monitor}
mon warn on insecure global id reclaim allowed = false
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object size = 128M
[mon.a]
mon data = {state}/mon
[osd.0]
osd data = {state}/osd
osd objectstore = memstore
memstore device bytes = 4G
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw thread pool size = 64
"""


@dataclass(frozen=True, kw_only=True)
class User:
    """An account of the store."""

    name: str
    credentials: S3Credentials


OWNER = User(name="owner", credentials=S3Credentials(access_key_id="owner", secret_access_key="the owner's secret"))


class ObjectStore:
    """A running store. Its buckets belong to OWNER."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._conf = state / "ceph.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []
        monitor, legacy, self._port = _free_ports(3)
        self._monitor = f"[v2:127.0.0.1:{monitor},v1:127.0.0.1:{legacy}]"

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Bring it up. Raises RefusedError if something is missing, FailedError with what was said otherwise."""
        require_programs(_PROGRAMS, "the object store of the tests")
        cluster = str(uuid4())
        self._conf.write_text(
            _CONF.format(cluster=cluster, state=self._state, monitor=self._monitor, gateway=self._port)
        )
        for folder in ("mon", "osd"):
            (self._state / folder).mkdir()
        try:
            self._start_cluster(cluster)
            self.add_user(OWNER)
            self._daemon("radosgw", "--name", "client.rgw")
            self._wait(self._answers)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take it down. Its objects are gone."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()

    def add_user(self, user: User) -> None:
        """Make an account; it may do nothing to anybody's bucket yet."""
        key = user.credentials
        account = ["--uid", user.name, "--display-name", user.name, "--access-key", key.access_key_id]
        secret = ["--secret-key", key.secret_access_key]
        self._run("radosgw-admin", "-c", self._conf, "--name", "client.rgw", "user", "create", *account, *secret)

    def new_bucket(self, *, object_lock: bool = False) -> str:
        """A bucket that nobody has used; with object lock it keeps every version too."""
        bucket = f"bucket-{uuid4().hex[:12]}"
        self.ask("PUT", f"/{bucket}", headers={"x-amz-bucket-object-lock-enabled": "true"} if object_lock else {})
        return bucket

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> bytes:
        """A request of the owner's that no storage has a method for. Returns the answer's body."""
        request = urllib.request.Request(
            self.endpoint + target, data=body or None, method=method, headers=dict(headers)
        )
        signed(request, OWNER.credentials, _REGION)
        try:
            with urllib.request.urlopen(request) as answer:
                return bytes(answer.read())
        except HTTPError as error:
            raise FailedError(f"{method} {target}: {error.code} {error.read().decode(errors='replace')}") from error

    def storage(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        user: User = OWNER,
        patience: Patience | None = None,
        **others: Any,
    ) -> ObjectStorage:
        """The product's own storage over a bucket; `others` are settings of S3."""
        settings = S3Settings(
            region=_REGION,
            endpoint=endpoint or self.endpoint,
            path_style=True,
            credentials=lambda: user.credentials,
            **others,
        )
        return open_s3(bucket, prefix, f"s3://{bucket}/{prefix}".rstrip("/"), settings, patience)

    def environment(self, user: User = OWNER) -> dict[str, str]:
        """What the program must be told."""
        return {
            "HOLDFAST_S3_ENDPOINT": self.endpoint,
            "HOLDFAST_S3_ACCESS_KEY_ID": user.credentials.access_key_id,
            "HOLDFAST_S3_SECRET_ACCESS_KEY": user.credentials.secret_access_key,
        }

    def _start_cluster(self, cluster: str) -> None:
        """The order is the one of Ceph's manual deployment: map and keys, monitor, store."""
        monmap, keyring = self._state / "monmap", self._state / "keyring"
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", self._monitor, monmap)
        self._run(
            "ceph-authtool", "--create-keyring", keyring, "--gen-key", "--name", "mon.", "--cap", "mon", "allow *"
        )
        rights = [word for service in ("mon", "osd", "mgr") for word in ("--cap", service, "allow *")]
        for name in ("client.admin", "client.rgw", "osd.0"):
            self._run("ceph-authtool", keyring, "--gen-key", "--name", name, *rights)
        make_monitor = ("ceph-mon", "-c", self._conf, "--id", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self._run(*make_monitor)
        self._daemon("ceph-mon", "--id", "a")
        store = str(uuid4())
        self._run("ceph", "-c", self._conf, "osd", "new", store)
        self._run("ceph-osd", "-c", self._conf, "--id", "0", "--mkfs", "--osd-uuid", store)
        self._daemon("ceph-osd", "--id", "0")
        self._wait(lambda: b"1 up" in self._run("ceph", "-c", self._conf, "osd", "stat"))

    def _daemon(self, program: str, *words: str) -> None:
        with (self._state / "daemons.log").open("ab") as log:
            command = [*_ENDS_WITH_US, program, "-c", str(self._conf), "--foreground", *words]
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._daemons.append(daemon)

    def _run(self, *command: str | Path) -> bytes:
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if done.returncode:
            raise FailedError(f"{command[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _answers(self) -> bool:
        with suppress(OSError):
            urllib.request.urlopen(self.endpoint, timeout=5).close()
            return True
        return False

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                said = (self._state / "daemons.log").read_text(errors="replace")[-2000:]
                raise FailedError(f"the object store does not come up: {dead or 'time is up'}: {said}")
            time.sleep(0.1)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A store while the context lasts."""
    with scratch_directory() as state:
        store = ObjectStore(state)
        store.start()
        try:
            yield store
        finally:
            store.stop()


def _free_ports(count: int) -> Sequence[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
