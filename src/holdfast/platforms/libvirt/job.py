"""libvirt's backup job: one for all disks of a domain, in pull mode, served over NBD.

Source: libvirt.org/formatbackup.html and formatcheckpoint.html. Scratch images are made beforehand and reused, which
keeps their making out of the freeze.
"""

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from holdfast.core.errors import ConflictError, FailedError
from holdfast.core.progress import Progress
from holdfast.platforms.libvirt.calls import asking, is_lost
from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.workspace import NAME, is_abandoned

# When the guest agent restarts during a job, libvirt 9.0 ends the job only after two time-outs of 30 s of its own.
_END_S = 180.0
_POLL_S = 0.01
_RESTART_S = 60.0  # how long a daemon that went away may take to come back
_AGAIN_S = 1.0
_OVER = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}  # no domain, not running, no job


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to begin: building on a checkpoint or not, leaving a new one on these disks or none."""

    since: str | None
    checkpoint: str
    marked: Sequence[str]


class BackupJob:
    """A domain's backup job, ours from `begin` to `end`."""

    def __init__(
        self,
        domain: Any,
        uri: str,
        scratch: Mapping[str, Path],
        skipped: Sequence[str],
        socket: Path,
        progress: Progress,
    ) -> None:
        self._domain = domain
        self._uri = uri
        self._progress = progress
        self._scratch = scratch
        self._skipped = skipped
        self.socket = socket
        self._run = int(domain.ID())

    def begin(self, attempt: Attempt) -> None:
        """Take the instant. Raises libvirt.libvirtError: the caller knows what to try next."""
        marks = self._checkpoint_xml(attempt) if attempt.marked else None
        self._domain.backupBegin(self._backup_xml(attempt.since), marks, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)

    def end(self) -> None:
        """End the job and wait until it is gone, even if libvirt's daemon restarts meanwhile: QEMU goes on without it.

        Never raises for what libvirt says: the domain may be gone, or the job be over. A job that may be left, for
        whatever reason, is warned of.
        """
        is_over = False
        try:
            is_over = self._end_here_or_elsewhere()
        finally:
            if not is_over:
                name = self._domain.name()
                self._progress.warning(
                    f"the backup job of {name} may still run, and its scratch files grow unseen; once libvirt answers: "
                    f"virsh domjobabort {name}"
                )

    def is_ours(self) -> bool:
        """Whether this very job is still under way. Raises libvirt.libvirtError where nobody can tell."""
        return self._is_of(self._domain)

    def _end_here_or_elsewhere(self) -> bool:
        """End it over the connection there is, or, once that is lost, over new ones. Whether it is over."""
        try:
            return self._try_to_end(self._domain)
        except libvirt.libvirtError:
            deadline = time.monotonic() + _RESTART_S
        while not self._try_to_end_anew():
            if time.monotonic() > deadline:
                return False
            time.sleep(_AGAIN_S)
        return True

    def _try_to_end_anew(self) -> bool:
        try:
            with _found_again(self._uri, self._domain.UUIDString()) as domain:
                return self._try_to_end(domain)
        except libvirt.libvirtError as error:
            return error.get_error_code() in _OVER

    def _try_to_end(self, domain: Any) -> bool:
        """Whether the job is over now. Raises libvirt.libvirtError if the connection is lost."""
        try:
            if self._is_of(domain):
                end_job(domain)
        except FailedError:
            return False
        except libvirt.libvirtError as error:
            if is_lost(error):
                raise
            return error.get_error_code() in _OVER
        return True

    def _is_of(self, domain: Any) -> bool:
        if not domain.isActive() or domain.ID() != self._run:
            return False
        job = find_job(domain)
        return job is not None and _socket_of(job) == str(self.socket)

    def _backup_xml(self, since: str | None) -> str:
        root = ET.Element("domainbackup", mode="pull")
        if since is not None:
            ET.SubElement(root, "incremental").text = since
        ET.SubElement(root, "server", transport="unix", socket=str(self.socket))
        disks = ET.SubElement(root, "disks")
        for name, image in self._scratch.items():
            disk = ET.SubElement(disks, "disk", name=name, backup="yes", type="file")
            ET.SubElement(disk, "driver", type="qcow2")
            ET.SubElement(disk, "scratch", file=str(image))
        for name in self._skipped:
            ET.SubElement(disks, "disk", name=name, backup="no")
        return ET.tostring(root, encoding="unicode")

    def _checkpoint_xml(self, attempt: Attempt) -> str:
        unmarked = [name for name in (*self._scratch, *self._skipped) if name not in attempt.marked]
        return checkpoint_xml(attempt.checkpoint, attempt.marked, unmarked)


@contextmanager
def _found_again(uri: str, identity: str) -> Iterator[Any]:
    """The domain over a connection of its own. Raises libvirt.libvirtError."""
    connection = libvirt.open(uri)
    try:
        yield connection.lookupByUUIDString(identity)
    finally:
        connection.close()


def checkpoint_xml(name: str, marked: Sequence[str], unmarked: Sequence[str], domain: ET.Element | None = None) -> str:
    """A checkpoint with bitmaps of its own name. With a `domain`, as it takes to make a lost checkpoint known again."""
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    if domain is not None:
        ET.SubElement(root, "creationTime").text = str(int(time.time()))
    disks = ET.SubElement(root, "disks")
    for disk in marked:
        ET.SubElement(disks, "disk", name=disk, checkpoint="bitmap", bitmap=name)
    for disk in unmarked:
        ET.SubElement(disks, "disk", name=disk, checkpoint="no")
    if domain is not None:
        root.append(domain)
    return ET.tostring(root, encoding="unicode")


def bitmap_export(disk: str) -> str:
    """What libvirt calls the export of an incremental job's dirty bitmap, unless told otherwise."""
    return f"backup-{disk}"


def find_job(domain: Any) -> ET.Element | None:
    """The domain's backup job, if it has one. Raises libvirt.libvirtError."""
    try:
        return parse(domain.backupGetXMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_BACKUP:
            return None
        raise


def clear_dead_job(domain: Any) -> bool:
    """End the job of a Holdfast that was killed; whether there was one. Raises ConflictError if it has an owner."""
    name = domain.name()
    with asking(f"see what jobs {name} has"):
        job = find_job(domain)
        busy = job is None and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    if busy:
        raise ConflictError(f"{name} is busy with another job", hint=f"see: virsh domjobinfo {name}", code="busy")
    if job is None:
        return False
    workspaces = [Path(scratch.get("file", "/")).parent for scratch in job.iterfind("disks/disk/scratch")]
    if not workspaces or not all(NAME.fullmatch(place.name) and is_abandoned(place) for place in workspaces):
        raise ConflictError(
            f"another backup of {name} is running",
            hint="wait for it, or end it: virsh domjobabort " + name,
            code="busy",
        )
    with asking(f"end the backup of {name} that a killed process left"):
        end_job(domain)
    return True


def end_job(domain: Any) -> None:
    """Abort the domain's job and wait until nothing is left of it. Raises libvirt.libvirtError, FailedError."""
    domain.abortJob()
    deadline = time.monotonic() + _END_S
    while find_job(domain) is not None:
        if time.monotonic() > deadline:
            raise FailedError(f"the backup job of {domain.name()} does not end")
        time.sleep(_POLL_S)


def _socket_of(job: ET.Element) -> str:
    server = job.find("server")
    return "" if server is None else server.get("socket", "")
