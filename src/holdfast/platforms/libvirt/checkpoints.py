"""Our checkpoints on one domain: made known again, removed, and nobody else's ever touched.

A checkpoint lives in two places: as metadata that libvirt keeps for the domain, and as a dirty bitmap of the same name
in each disk's image. Either can be lost without the other: undefining or migrating a domain loses the metadata, putting
an old image back loses the bitmap. While the domain runs, libvirt changes both; while it is off, libvirt only handles
metadata, and qemu-img the bitmaps.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import libvirt

from holdfast.core.errors import FailedError, HoldfastError
from holdfast.platforms.files.qcow2 import read_qcow2
from holdfast.platforms.files.qemu_img import remove_bitmap
from holdfast.platforms.libvirt.calls import asking
from holdfast.platforms.libvirt.domain_xml import parse
from holdfast.platforms.libvirt.job import checkpoint_xml
from holdfast.platforms.libvirt.marks import name_prefix
from holdfast.platforms.libvirt.survey import SurveyedDisk

_REDEFINE = libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
_VALIDATE = libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
_METADATA_ONLY = libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY


class Checkpoints:
    """The checkpoints of one repository, `owner`, on one domain."""

    def __init__(self, domain: Any, disks: Sequence[SurveyedDisk], owner: str) -> None:
        self._domain = domain
        self._disks = disks
        self._prefix = name_prefix(owner)

    def verify(self, name: str) -> None:
        """See that a running domain can build on `name`, making it known to libvirt again if that is all it lacks.

        Raises libvirt.libvirtError with the reason it cannot.
        """
        known = self._look_up(name)
        if known is not None:
            xml = known.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_SECURE)
        else:
            xml = self._as_known_before(name, [disk.name for disk in self._disks])
        self._domain.checkpointCreateXML(xml, _REDEFINE | _VALIDATE)

    def make_known(self, name: str, marked: Sequence[str]) -> None:
        """Give libvirt the metadata of a checkpoint whose bitmaps exist. Raises FailedError and its kin."""
        with asking(f"tell libvirt of checkpoint {name}"):
            self._domain.checkpointCreateXML(self._as_known_before(name, marked), _REDEFINE)

    def forget(self, name: str) -> None:
        """Let libvirt know nothing of a checkpoint, whose bitmaps stay or go with their images."""
        with asking(f"forget checkpoint {name}"):
            if (checkpoint := self._look_up(name)) is not None:
                checkpoint.delete(_METADATA_ONLY)

    def remove(self, name: str) -> None:
        """Remove a checkpoint of ours, metadata and bitmaps. Raises HoldfastError if part of it stays."""
        assert name.startswith(self._prefix)
        if self._domain.isActive():
            self._remove_live(name)
        else:
            self._remove_at_rest(name)

    def remove_all_but(self, kept: Iterable[str]) -> list[str]:
        """Remove every checkpoint of ours that is not `kept`. What could not be removed, in words; never raises."""
        troubles: list[str] = []
        with collecting(troubles):
            for name in sorted(self._find() - set(kept)):
                with collecting(troubles):
                    self.remove(name)
        return troubles

    def _find(self) -> set[str]:
        """Names of our checkpoints, known to libvirt or only left in an image."""
        with asking(f"list the checkpoints of {self._domain.name()}"):
            known = {checkpoint.getName() for checkpoint in self._domain.listAllCheckpoints()}
        found = known | {name for disk in self._disks for name in bitmaps_of(disk)}
        return {name for name in found if name.startswith(self._prefix)}

    def _remove_live(self, name: str) -> None:
        with asking(f"remove checkpoint {name}"):
            marked = [disk.name for disk in self._disks if name in bitmaps_of(disk)]
            checkpoint = self._look_up(name)
            if checkpoint is None and marked:
                checkpoint = self._domain.checkpointCreateXML(self._as_known_before(name, marked), _REDEFINE)
            if checkpoint is None:
                return
            try:
                checkpoint.delete()
            except libvirt.libvirtError:
                # Its bitmaps are gone, for instance with an image that was replaced. Then only the metadata is left.
                checkpoint.delete(_METADATA_ONLY)

    def _remove_at_rest(self, name: str) -> None:
        for disk in self._disks:
            if disk.path is not None and name in bitmaps_of(disk):
                remove_bitmap(disk.path, name)
        self.forget(name)

    def _look_up(self, name: str) -> Any | None:
        try:
            return self._domain.checkpointLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT:
                return None
            raise

    def _as_known_before(self, name: str, marked: Sequence[str]) -> str:
        form = libvirt.VIR_DOMAIN_XML_MIGRATABLE if self._domain.isActive() else libvirt.VIR_DOMAIN_XML_INACTIVE
        domain = parse(self._domain.XMLDesc(form | libvirt.VIR_DOMAIN_XML_SECURE))
        return checkpoint_xml(name, marked, (), domain)


class NewCheckpoint:
    """A checkpoint that goes when its context ends, unless it is kept. Its name may be one that was never made."""

    def __init__(self, checkpoints: Checkpoints, name: str) -> None:
        self._checkpoints = checkpoints
        self.name = name
        self._kept = False

    def keep(self) -> None:
        """A point was committed that builds on it."""
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._kept:
            with collecting([]):  # the next capture looks for leftovers again
                self._checkpoints.remove(self.name)


def bitmaps_of(disk: SurveyedDisk) -> set[str]:
    """Names of the bitmaps in a disk's image file. Of a running domain: as they were when it last closed the image."""
    if disk.path is None or disk.markable.image is None:
        return set()
    try:
        return {bitmap.name for bitmap in read_qcow2(disk.path).bitmaps}
    except (OSError, HoldfastError):
        return set()


@contextmanager
def collecting(troubles: list[str]) -> Iterator[None]:
    """Note a failure in words and go on: what is tidied up here costs space, not safety."""
    try:
        yield
    except HoldfastError as error:
        troubles.append(error.message)
    except libvirt.libvirtError as error:
        troubles.append(FailedError(str(error)).message)
