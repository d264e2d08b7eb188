"""Extract: a file or a folder of a point, with all that is in it, to where its user wants it."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from holdfast.core.errors import FailedError, HoldfastError
from holdfast.core.point import RestorePoint
from holdfast.core.progress import Progress
from holdfast.filesystems import BROKEN, NOT_READABLE, Entry, Inspection
from holdfast.jobs.files import walked
from holdfast.jobs.hold import held
from holdfast.jobs.notes import Notes
from holdfast.mover.contents import Piece, read_pieces
from holdfast.mover.unpacking import Destination
from holdfast.repository import Repository

_OF_ONE_FILE: Final = {BROKEN, NOT_READABLE, "block-missing"}
"""Codes of errors that leave other files readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractResult:
    """Files of `path` in a point were brought to `output`; `bytes` are those of their contents, holes included."""

    point: str
    machine: str
    machine_id: str
    path: str
    output: str
    files: int
    directories: int
    links: int
    bytes: int
    seconds: float
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Count:
    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0


def extract(
    repository: Repository,
    point: RestorePoint,
    inspection: Inspection,
    path: bytes,
    destination: Destination,
    progress: Progress,
) -> ExtractResult:
    """Bring what is at `path` to `destination`. Whatever ends the work early, the destination is abandoned.

    A link at the path itself is followed, as its user wants what is behind it; links below are kept as they are.
    """
    began = time.monotonic()
    notes = Notes(progress)
    try:
        with held(repository, point, notes):
            top = inspection.look(path, follow=True)
            progress.step(f"Extracting {os.fsdecode(path)}")
            run = _Extraction(inspection, destination, notes)
            run.add_all(top)
            destination.finish()
    except BaseException:
        destination.abandon()
        raise
    for what, count in destination.lost.items():
        notes.warning(f"{what} of {count} files could not be kept at {destination.output}")
    return ExtractResult(
        point=point.id,
        machine=point.machine,
        machine_id=point.machine_id,
        path=os.fsdecode(path),
        output=destination.output,
        files=run.count.files,
        directories=run.count.directories,
        links=run.count.links,
        bytes=run.count.bytes,
        seconds=round(time.monotonic() - began, 3),
        warnings=notes.warnings,
    )


class _Extraction:
    """One run."""

    def __init__(self, inspection: Inspection, destination: Destination, notes: Notes) -> None:
        self.count = _Count()
        self._inspection = inspection
        self._destination = destination
        self._notes = notes
        self._firsts: dict[tuple[str, int], bytes] = {}

    def add_all(self, top: Entry) -> None:
        """The file at the top, and everything below."""
        self._add(b"", top)
        if top.kind == "dir":
            above = len(top.path.rstrip(b"/")) + 1
            for entry in walked(self._inspection, top, attributes=True):
                self._add_or_tell(entry.path[above:], entry)

    def _add_or_tell(self, path: bytes, entry: Entry) -> None:
        """One file that cannot be read does not keep the others back."""
        try:
            if entry.problem:
                raise FailedError(entry.problem, code=BROKEN)
            self._add(path, entry)
        except HoldfastError as error:
            if error.code not in _OF_ONE_FILE:
                raise
            self._notes.warning(f"{os.fsdecode(entry.path)} is left out: {error.message}")

    def _add(self, path: bytes, entry: Entry) -> None:
        first = self._firsts.get((entry.volume, entry.number)) if entry.kind == "file" and entry.links > 1 else None
        if first is not None and self._destination.knows_second_names:
            self._destination.add_again(path, entry, first)
            return
        xattrs = self._inspection.xattrs(entry.path)
        match entry.kind:
            case "dir":
                self._destination.add_directory(path, entry, xattrs)
                self.count.directories += 1
            case "file":
                self._destination.add_file(path, entry, xattrs, self._pieces(entry))
                self._firsts[entry.volume, entry.number] = path  # only what is there can get another name
                self.count.files += 1
            case "link" | "other":
                self._destination.add_other(path, entry, xattrs)
                self.count.links += entry.kind == "link"

    def _pieces(self, entry: Entry) -> Iterator[Piece]:
        for piece in read_pieces(self._inspection, entry):
            yield piece
            self.count.bytes += piece.length
            if piece.start + piece.length < entry.size:
                self._notes.advance(piece.start + piece.length, entry.size)
