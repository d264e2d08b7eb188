"""Where a repository is: a path, or the same place as a `file:` URL."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.core.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def parse_location(url: str) -> Path:
    """The absolute directory that `url` names. `/srv/backup` and `file:///srv/backup` are equal (RFC 8089).

    Raises UsageError for other schemes and for `file:` URLs that name another host or a relative path.
    """
    if not url:
        raise UsageError("the repository's URL is empty", hint="give a directory, for instance /srv/backup")
    if url.startswith("file:"):
        return _local_path(url)
    if scheme := _SCHEME.match(url):
        raise UsageError(
            f"cannot use {url!r}: this version does not know {scheme[1]}:// repositories",
            hint="give a local directory: a path, or file:///path",
            code="unknown-scheme",
        )
    return _checked(url, url)


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} does not name a local directory", hint="write it like file:///srv/backup", code="bad-url"
        )
    return _checked(path, url)


def _checked(path: str, url: str) -> Path:
    if "\0" in path:
        raise UsageError(f"{url!r} holds a NUL byte, which no path can", hint="check the URL", code="bad-url")
    return Path(path).absolute()
