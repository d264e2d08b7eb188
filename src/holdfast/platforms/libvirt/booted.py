"""A domain that runs from backup: its disks moved home underneath it, or all of it removed."""

import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import libvirt

from holdfast.core.boot import Newborn, Origin
from holdfast.core.errors import FailedError, FullError, RefusedError
from holdfast.core.progress import Progress
from holdfast.platforms.files.qcow2 import read_qcow2
from holdfast.platforms.libvirt.boot import UNDEFINE
from holdfast.platforms.libvirt.calls import asking, virsh
from holdfast.platforms.libvirt.domain_xml import parse, read_disks
from holdfast.platforms.libvirt.marks import Image, Mark
from holdfast.platforms.libvirt.on_backup import (
    NAMESPACE,
    checkpoint_of,
    former_disks,
    former_nvram,
    like_any_other,
    listed_files,
    overlays_of,
    read_origin,
    unfinished,
)
from holdfast.platforms.libvirt.stand_in import give_back

_POLL_S: Final = 0.25
_FULL_BYTES: Final = 16 * 1024 * 1024
"""With less room than this left, it was for want of room that moving home ended."""
_INACTIVE: Final = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_IN_BYTES: Final = libvirt.VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES


def find_booted(domain: Any) -> "LibvirtBooted | None":
    """The domain as a machine that runs from backup; None if it does not."""
    with asking(f"read the definition of {domain.name()}"):
        definition = parse(domain.XMLDesc(_INACTIVE))
    origin = read_origin(definition)
    return None if origin is None else LibvirtBooted(domain, origin, definition)


class LibvirtBooted:
    """A BootedMachine."""

    def __init__(self, domain: Any, origin: Origin, definition: ET.Element) -> None:
        self._domain = domain
        self._overlays = overlays_of(definition)
        self._attached = {disk.path for disk in read_disks(definition)}
        self._checkpoint = checkpoint_of(definition)
        self._files = listed_files(definition)
        nvram = former_nvram(definition)
        self.former_disks: Sequence[str] = former_disks(definition)
        self.former_nvram: str | None = None if nvram is None else str(nvram)
        self.origin = origin
        self.id: str = domain.UUIDString()
        self.name: str = domain.name()

    def move_home(self, bytes_per_second: int | None, progress: Progress) -> int:
        """One disk after the other; a machine that is off is started for it, but not run."""
        before = self._allocated()
        with _in_memory(self._domain):
            for disk in unfinished(self._live(), self.origin):
                progress.step(f"Moving {disk} home")
                self._pull(disk, bytes_per_second or 0, progress)
        self._require_home()
        return max(0, self._allocated() - before)

    def newborn(self, sizes: Mapping[str, int]) -> Newborn:
        """Its definition as of any machine, and the marks that its overlays hold."""
        with asking(f"read the definition of {self.name}"):
            definition = like_any_other(self._domain.XMLDesc(_INACTIVE))
        marks = {
            disk: Mark(
                checkpoint=self._checkpoint,
                size_bytes=sizes[disk],
                image=Image(path=str(path), inode=path.stat().st_ino, chain=()),
            ).to_json()
            for disk, path in self._overlays.items()
        }
        return Newborn(id=self.id, name=self.name, definition=definition.encode(), marks=marks)

    def forget_origin(self) -> None:
        """Live first: once the lasting definition has forgotten, nobody asks again."""
        with asking(f"change the definition of {self.name}"):
            if self._domain.isActive():
                live = libvirt.VIR_DOMAIN_AFFECT_LIVE
                self._domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, None, NAMESPACE, live)
            self._domain.connect().defineXML(like_any_other(self._domain.XMLDesc(_INACTIVE)))

    def discard(self) -> Sequence[Path]:
        """Destroy, undefine, remove what was made for it; if it is a copy, not what only its original has."""
        with asking(f"end {self.name}"):
            if self._domain.isActive():
                self._domain.destroy()
        if self.former_disks:
            give_back(self._domain, self._checkpoint)
        else:
            with asking(f"remove {self.name}"):
                self._domain.undefineFlags(UNDEFINE)
        removed = [*(path for path in self._overlays.values() if path in self._attached), *self._files]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed

    def _pull(self, disk: str, bytes_per_second: int, progress: Progress) -> None:
        """Until all is in the overlay. A job that somebody began is gone on with; whatever ends us ends the job."""
        domain = self._domain
        with asking(f"move {disk} of {self.name} home"):
            if domain.blockJobInfo(disk):
                domain.blockJobSetSpeed(disk, bytes_per_second, libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES)
            else:
                domain.blockRebase(disk, None, bytes_per_second, _IN_BYTES)
            try:
                while job := domain.blockJobInfo(disk):
                    progress.advance(int(job["cur"]), int(job["end"]))
                    time.sleep(_POLL_S)
            except BaseException:
                with suppress(libvirt.libvirtError):
                    domain.blockJobAbort(disk)
                raise
        if disk in unfinished(self._live(), self.origin):
            raise self._not_moved(disk)

    def _not_moved(self, disk: str) -> FailedError | FullError:
        path = self._overlays[disk]
        if shutil.disk_usage(path.parent).free < _FULL_BYTES:
            return FullError(f"{path}: no space left, moving {disk} home", hint="make room, then run it again")
        return FailedError(
            f"moving {disk} of {self.name} home ended before all of it was there",
            hint="see that the repository can be reached, then run it again: what was moved stays",
            code="not-home",
        )

    def _require_home(self) -> None:
        """Raise FailedError if a definition or an image still names the backup."""
        with asking(f"read the definition of {self.name}"):
            lasting = parse(self._domain.XMLDesc(_INACTIVE))
        for disk, path in self._overlays.items():
            if disk in unfinished(lasting, self.origin) or read_qcow2(path).backing_file is not None:
                raise self._not_moved(disk)

    def _live(self) -> Any:
        with asking(f"read the definition of {self.name}"):
            return parse(self._domain.XMLDesc())

    def _allocated(self) -> int:
        return sum(path.stat().st_blocks * 512 for path in self._overlays.values())


def _refuse_saved(domain: Any) -> None:
    """Starting it would take its memory out of the file, and ending it would throw that away."""
    if domain.hasManagedSaveImage():
        raise RefusedError(
            f"{domain.name()} is saved with its memory, which would be lost if it were started and not run",
            hint=f"start it: {virsh(domain, 'start')}; or give up what it was doing: "
            f"{virsh(domain, 'managedsave-remove')}",
            code="saved",
        )


@contextmanager
def _in_memory(domain: Any) -> Iterator[None]:
    """Within, QEMU has the machine's disks open: it runs, or is started paused and ended again if nobody resumed it."""
    with asking(f"start {domain.name()}, paused"):
        was_off = not domain.isActive()
        if was_off:
            _refuse_saved(domain)
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        yield
    finally:
        if was_off:
            with suppress(libvirt.libvirtError):
                if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                    domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
