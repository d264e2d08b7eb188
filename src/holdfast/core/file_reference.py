"""What a person writes to mean a file of a restore point: `MACHINE@POINT:/PATH`, or of many: `MACHINE:/PATH`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.core.errors import UsageError
from holdfast.core.selection import PointReference, parse_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A path in a point. `path` is as the guest has it: bytes."""

    text: str
    point: PointReference
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AnywhereReference:
    """A path in all points of a machine; of all machines if it is None."""

    machine: str | None
    path: bytes


def parse_file(text: str) -> FileReference:
    """Parse `MACHINE@POINT:/PATH`; without `:/PATH` the top is meant. Raises UsageError.

    Times hold colons, paths may hold anything: the first `:/` after what is a point divides.
    """
    for point, path in _divided(text):
        try:
            return FileReference(text=text, point=parse_reference(point), path=path)
        except UsageError:
            continue
    parse_reference(text.partition(":/")[0])
    raise UsageError(f"{text!r} names no file of a restore point", hint="write MACHINE@latest:/PATH", code="bad-file")


def parse_anywhere(text: str) -> AnywhereReference | FileReference:
    """Parse what `file find` is given: a file of a point, `MACHINE:/PATH`, or `:/PATH` for all machines."""
    machine, colon, path = text.partition(":/")
    if "@" in machine:
        return parse_file(text)
    return AnywhereReference(machine=machine or None, path=os.fsencode(f"/{path}") if colon else b"/")


def _divided(text: str) -> Iterator[tuple[str, bytes]]:
    at = text.find(":/")
    while at >= 0:
        yield text[:at], os.fsencode(text[at + 1 :])
        at = text.find(":/", at + 1)
    yield text, b"/"
