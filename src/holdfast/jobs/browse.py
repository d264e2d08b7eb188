"""Browse: the files of a point for a server that is asked again and again, for as long as it lives.

What a directory holds is remembered for the questions about each entry that follow. A reader that a damaged file system
has ended is started anew: one bad directory does not end the mount.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeVar

from holdfast.core.errors import HoldfastError
from holdfast.core.point import PointDisk, RestorePoint
from holdfast.core.progress import Progress
from holdfast.filesystems import Entry, Inspection, Wanted
from holdfast.jobs.export import exported
from holdfast.jobs.files import doubts
from holdfast.jobs.hold import held
from holdfast.mover.random_access import OpenedFile
from holdfast.repository import Repository

_KEPT_ENTRIES: Final = 50_000
_T = TypeVar("_T")


class Browser:
    """The files of a point. Safe to use from many threads."""

    def __init__(self, start: Callable[[], Inspection]) -> None:
        """`start` looks into the point's disks."""
        self._start = start
        self._starting = Lock()
        self._inspection = start()
        self._known: OrderedDict[bytes, Entry] = OrderedDict()
        self._keeping = Lock()

    @property
    def inspection(self) -> Inspection:
        """As it is now."""
        return self._inspection

    def look(self, path: bytes) -> Entry:
        """The file at a path; links are not followed. Raises HoldfastError."""
        with self._keeping:
            known = self._known.get(path)
        return known or self._asked(lambda inspection: inspection.look(path))

    def follow(self, path: bytes) -> Entry:
        """The file that a path leads to; links are followed, inside the guest. Raises HoldfastError."""
        return self._asked(lambda inspection: inspection.look(path, follow=True))

    def entries(self, path: bytes) -> Sequence[Entry]:
        """What a directory holds. Raises HoldfastError."""
        found = self._asked(lambda inspection: list(inspection.entries(path)))
        with self._keeping:
            for entry in found[:_KEPT_ENTRIES]:
                if not entry.problem:
                    self._known[entry.path] = entry
            while len(self._known) > _KEPT_ENTRIES:
                self._known.popitem(last=False)
        return found

    def open(self, path: bytes) -> OpenedFile:
        """A file to read from. Raises HoldfastError."""
        file = self.look(path)
        return self._asked(lambda inspection: OpenedFile(inspection, file))

    def xattrs(self, path: bytes) -> Mapping[str, bytes]:
        """Extended attributes. Raises HoldfastError."""
        return self._asked(lambda inspection: inspection.xattrs(path))

    def close(self) -> None:
        """End the reader."""
        self._inspection.close()

    def _asked(self, ask: Callable[[Inspection], _T]) -> _T:
        inspection = self._inspection
        try:
            return ask(inspection)
        except HoldfastError:
            if inspection.has_ended:
                self._renew(inspection)
            raise

    def _renew(self, ended: Inspection) -> None:
        with self._starting:
            if self._inspection is ended:
                self._inspection = self._start()


@contextmanager
def browsing(
    repository: Repository, point: RestorePoint, disks: Sequence[PointDisk], wanted: Wanted, progress: Progress
) -> Iterator[Browser]:
    """The files of a point, which is held until the context ends. Raises as `looked_into` does."""
    with exported(repository, disks, held(repository, point, progress)) as devices:
        browser = Browser(lambda: Inspection(devices, wanted, f"{point.machine}@{point.id}"))
        try:
            for doubt in doubts(point, browser.inspection):
                progress.warning(doubt)
            browser.look(b"/")
            yield browser
        finally:
            browser.close()
