"""What `doctor` looks at on this computer. Versions named as needed are the oldest that were tried."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

from holdfast.bootstrap.settings import StorageSettings
from holdfast.bootstrap.wiring import connect, foreign_reader, open_storage
from holdfast.core.errors import FailedError, FullError, NotFoundError
from holdfast.jobs.doctor import Probe, require_version
from holdfast.platforms.files.publishing import sync_directory
from holdfast.repository.config import NAMES as CONFIG_NAMES
from holdfast.repository.storage.port import ObjectMissingError
from holdfast.repository.storage.probe import weakness

_PYTHON = "3.11"
_QEMU = "7.2"
_LIBVIRT = "9.0"
_LIBNBD = "1.14"
_NBDKIT = "1.32"
_FREE_BYTES = 1 << 30
_PROGRAM_TIMEOUT_S = 20


def probes(connection: str | None, storage: StorageSettings | None) -> Iterator[Probe]:
    """Everything worth a look; the hypervisor and the repository only if they are named."""
    yield Probe(name="python", needed=f">= {_PYTHON}", look=_python)
    yield Probe(name="python libvirt", needed=f">= {_LIBVIRT}", look=_libvirt_binding)
    yield Probe(name="python libnbd", needed=f">= {_LIBNBD}", look=_nbd_binding)
    for program in ("qemu-img", "qemu-nbd"):
        yield Probe(name=program, needed=f">= {_QEMU}", look=partial(_program, program))
    yield Probe(name="nbdkit", needed=f">= {_NBDKIT}, for mounts", look=_nbdkit)
    yield Probe(name="python seccomp", needed="python3-seccomp, to look into disks", look=_seccomp)
    yield Probe(name="libguestfs", needed="not needed; reads further kinds of file systems", look=_guestfs)
    yield Probe(name="fuse", needed="fuse3 and /dev/fuse, for mounts of files", look=_fuse)
    yield Probe(name="kvm", needed="not needed; guests run faster with it", look=_kvm)
    if connection is not None:
        yield Probe(name="hypervisor", needed=f"{connection} answers", look=partial(_hypervisor, connection))
    if storage is not None:
        yield Probe(name="repository", needed="a repository", look=partial(_repository, storage))
        if isinstance(storage.location, Path):
            folder = storage.location
            yield Probe(name="repository sync", needed="files and names are made durable", look=partial(_sync, folder))
            yield Probe(name="repository space", needed="1 GiB free", look=partial(_space, folder))
        yield Probe(name="repository trust", needed="one of many puts wins a name", look=partial(_trust, storage))


def _python() -> str:
    version = platform.python_version()
    if not require_version(version, _PYTHON):
        raise FailedError(version, hint=f"run Holdfast with Python {_PYTHON} or later")
    return version


def _libvirt_binding() -> str:
    number = _import("libvirt", "python3-libvirt").getVersion()
    _import("libvirt_qemu", "python3-libvirt")
    version = f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"  # virGetVersion's encoding
    return _new_enough(version, _LIBVIRT, "libvirt")


def _nbd_binding() -> str:
    return _new_enough(str(_import("nbd", "python3-libnbd").NBD().get_version()), _LIBNBD, "libnbd")


def _seccomp() -> str:
    _import("seccomp", "python3-seccomp")
    return "installed"


def _guestfs() -> str:
    lacking = foreign_reader(lambda _: None).lacking
    return f"missing; {lacking}" if lacking else "installed"


def _import(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise NotFoundError(
            f"missing: {error}", hint=f"install {package} and make Holdfast's environment with --system-site-packages"
        ) from error


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotFoundError("missing", hint="install qemu-utils")
    try:
        answer = subprocess.run(
            [path, "--version"], stdout=subprocess.PIPE, text=True, check=True, timeout=_PROGRAM_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedError(f"{path} does not run: {error}", hint="reinstall qemu-utils") from error
    return _new_enough(answer.stdout.partition("\n")[0], _QEMU, "QEMU")


def _fuse() -> str:
    if shutil.which("fusermount3") is None:
        raise NotFoundError("missing", hint="install fuse3")
    if not Path("/dev/fuse").exists():
        raise NotFoundError("no /dev/fuse", hint="load the kernel's module fuse")
    return "fusermount3 and /dev/fuse"


def _nbdkit() -> str:
    """With its Python plugin, whose interpreter must be ours: it loads what we load."""
    lacking = NotFoundError("missing", hint="install nbdkit and nbdkit-plugin-python")
    if shutil.which("nbdkit") is None:
        raise lacking
    command = ["nbdkit", "--dump-plugin", "python"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_TIMEOUT_S)
    facts = dict(line.partition("=")[::2] for line in told.stdout.splitlines())
    if told.returncode or "python_version" not in facts:
        raise lacking
    if facts["python_version"].split(".")[:2] != list(platform.python_version_tuple()[:2]):
        message = f"its plugin runs Python {facts['python_version']}, this is {platform.python_version()}"
        raise FailedError(message, hint="run Holdfast with the distribution's Python")
    return _new_enough(facts["version"], _NBDKIT, "nbdkit")


def _new_enough(found: str, minimum: str, what: str) -> str:
    if not require_version(found, minimum):
        raise FailedError(found, hint=f"install {what} {minimum} or later")
    return found


def _kvm() -> str:
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm can be opened"
    return "no /dev/kvm: guests on this computer are emulated, and slow"


def _hypervisor(uri: str) -> str:
    with connect(uri) as platform:
        return f"answers, {len(platform.machines())} machines"


def _repository(settings: StorageSettings) -> str:
    storage = open_storage(settings)
    for name in CONFIG_NAMES:
        with suppress(ObjectMissingError):
            storage.size(name)
            return storage.url
    raise NotFoundError(f"no repository in {storage.url}", hint="check the URL, or `holdfast repository create` it")


def _trust(settings: StorageSettings) -> str:
    _repository(settings)  # a try leaves traces, so it is only made where it belongs
    if why := weakness(open_storage(settings)):
        raise FailedError(why, hint="backups work; move the repository before you collect")
    return "create-only puts, and reads after them"


def _sync(directory: Path) -> str:
    """Does what every durable write does: sync a file, link it, sync the directory."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=directory) as scratch:
            first, second = Path(scratch, "first"), Path(scratch, "second")
            with first.open("wb") as file:
                file.write(b"holdfast")
                file.flush()
                os.fsync(file.fileno())
            second.hardlink_to(first)
            sync_directory(Path(scratch))
    except OSError as error:
        raise FailedError(
            f"{error.strerror} in {directory}", hint="use a file system that can sync, link and be written to"
        ) from error
    return "file and directory synced, hard link made"


def _space(directory: Path) -> str:
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise NotFoundError(f"{directory}: {error.strerror}", hint="check the path") from error
    if free < _FREE_BYTES:
        raise FullError(f"{free} bytes free", hint="make room: a full repository takes no backup")
    return f"{free >> 30} GiB free"
