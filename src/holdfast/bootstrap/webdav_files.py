"""The files of a point as WebDAV shows them, read-only.

WebDAV has no links: one is shown as what it leads to inside the guest, or not at all. Nor has it devices and sockets.
A string that is called `path` here is a guest's bytes as WSGI hands them over, each as the character of that number:
a name need not be UTF-8.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from wsgidav.dav_error import (
    HTTP_FORBIDDEN,
    HTTP_INTERNAL_ERROR,
    HTTP_NOT_FOUND,
    DAVError,
    DAVErrorCondition,
    PRECONDITION_CODE_PropfindFiniteDepth,
)
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider
from wsgidav.mw.base_mw import BaseMiddleware

from holdfast.core.errors import HoldfastError, NotFoundError
from holdfast.filesystems import Entry
from holdfast.jobs.browse import Browser
from holdfast.jobs.files import FileInfo
from holdfast.mover.random_access import OpenedFile

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND"})
_WSGI: Final = "latin-1"

Environment = dict[str, Any]


class PointProvider(DAVProvider):  # type: ignore[misc]  # it has no types
    """The questions of WebDAV, answered."""

    def __init__(self, browser: Browser) -> None:
        super().__init__()
        self.browser = browser
        self.verbose = 1

    def is_readonly(self) -> bool:
        """It is."""
        return True

    def get_resource_inst(self, path: str, environ: Environment) -> "Folder | File | None":
        """The file or folder at a path, None if there is none."""
        try:
            with _answering(path):
                return self._shown(path, self.browser.follow(path.encode(_WSGI) or b"/"), environ)
        except DAVError as error:
            if error.value == HTTP_NOT_FOUND:
                return None
            raise

    def members(self, folder: "Folder") -> "list[Folder | File]":
        """What a folder holds."""
        with _answering(folder.path):
            entries = self.browser.entries(folder.entry.path)
        above = folder.path.rstrip("/")
        shown = (
            self._member(f"{above}/{entry.path.rpartition(b'/')[2].decode(_WSGI)}", entry, folder.environ)
            for entry in entries
        )
        return [each for each in shown if each is not None]

    def _member(self, path: str, entry: Entry, environ: Environment) -> "Folder | File | None":
        """What cannot be looked at is shown as a file, and says so to whoever reads it: a copy is not silently less."""
        if entry.kind != "link":
            return self._shown(path, entry, environ)
        try:
            return self._shown(path, self.browser.follow(entry.path), environ)
        except NotFoundError:
            return None
        except HoldfastError as error:
            return File(path, environ, Entry(path=entry.path, kind="file", problem=error.message))

    def _shown(self, path: str, entry: Entry, environ: Environment) -> "Folder | File | None":
        if entry.kind == "dir":
            return Folder(path, environ, entry)
        return File(path, environ, entry) if entry.kind == "file" or entry.problem else None


class ReadingOnly(BaseMiddleware):  # type: ignore[misc]  # it has no types
    """Refuses at the door what would write, and what would walk the whole tree for one answer."""

    def __call__(self, environ: Environment, start_response: Any) -> Any:
        """One request."""
        method = environ["REQUEST_METHOD"]
        if method not in _READING:
            raise DAVError(HTTP_FORBIDDEN, "A restore point does not change.")
        if method == "PROPFIND" and environ.get("HTTP_DEPTH") not in {"0", "1"}:
            raise DAVError(HTTP_FORBIDDEN, err_condition=DAVErrorCondition(PRECONDITION_CODE_PropfindFiniteDepth))
        return self.next_app(environ, start_response)


class _Resource:
    """What files and folders have in common."""

    path: str
    is_collection: bool
    entry: Entry

    def get_display_name(self) -> str:
        """The name for people; what XML could not hold is replaced."""
        name = self.path.rstrip("/").rpartition("/")[2].encode(_WSGI).decode(errors="replace")
        return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)

    def get_href(self) -> str:
        """The name for programs, as exact as the guest's."""
        slash = "/" if self.is_collection and not self.path.endswith("/") else ""
        return quote(self.path.encode(_WSGI) + slash.encode(), safe="/!*'(),$-_|.")

    def get_last_modified(self) -> float | None:
        """When it was changed, in seconds; None for a time that no calendar has."""
        modified = FileInfo.of(self.entry).modified_at
        return None if modified is None else modified.timestamp()


class Folder(_Resource, DAVCollection):  # type: ignore[misc]  # it has no types
    """A directory."""

    provider: PointProvider
    environ: Environment

    def __init__(self, path: str, environ: Environment, entry: Entry) -> None:
        super().__init__(path, environ)
        self.entry = entry

    def get_member_names(self) -> list[str]:
        """Names of what it holds."""
        return [each.path.rpartition("/")[2] for each in self.get_member_list()]

    def get_member_list(self) -> "list[Folder | File]":
        """What it holds."""
        return self.provider.members(self)


class File(_Resource, DAVNonCollection):  # type: ignore[misc]  # it has no types
    """A file."""

    provider: PointProvider

    def __init__(self, path: str, environ: Environment, entry: Entry) -> None:
        super().__init__(path, environ)
        self.entry = entry

    def get_content_length(self) -> int | None:
        """Its size, if it is known."""
        return None if self.entry.problem else self.entry.size

    def get_content_type(self) -> str:
        """Bytes. What a guest calls a page is not shown as one: its scripts could read the other files."""
        return "application/octet-stream"

    def get_etag(self) -> None:
        """Nothing beside its time tells one content from another."""

    def support_etag(self) -> bool:
        """It has none."""
        return False

    def support_ranges(self) -> bool:
        """Any bytes of it can be asked for."""
        return True

    def get_content(self) -> "Stream":
        """Its bytes."""
        with _answering(self.path):
            if self.entry.problem:
                _tell(self.path, self.entry.problem)
                raise DAVError(HTTP_INTERNAL_ERROR, self.entry.problem)
            return Stream(self.path, self.provider.browser.open(self.entry.path))


class Stream:
    """A file that is being read. What cannot be proved ends the connection: fewer bytes come than were said."""

    def __init__(self, path: str, opened: OpenedFile) -> None:
        self._path = path
        self._opened = opened
        self._offset = 0

    def seek(self, offset: int) -> None:
        """Go on there."""
        self._offset = offset

    def read(self, length: int) -> bytes:
        """Some bytes, none at the end."""
        with _answering(self._path):
            some = self._opened.read(self._offset, length)
        self._offset += len(some)
        return some

    def close(self) -> None:
        """It holds nothing."""


@contextmanager
def _answering(path: str) -> Iterator[None]:
    """Within, an error becomes the status that clients know, and the log says what it was."""
    try:
        yield
    except NotFoundError as error:
        raise DAVError(HTTP_NOT_FOUND) from error
    except HoldfastError as error:
        _tell(path, error.message)
        raise DAVError(HTTP_INTERNAL_ERROR, error.message) from error


def _tell(path: str, message: str) -> None:
    sys.stderr.write(f"holdfast: {path.encode(_WSGI)!r}: {message}\n")
    sys.stderr.flush()
