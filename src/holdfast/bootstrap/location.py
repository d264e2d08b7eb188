"""Where a repository is: a path, the same place as a `file:` URL, or a bucket of an object store."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.core.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKETS = ("s3", "gs", "az")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A prefix in a bucket (for `az`, `bucket` is the account and the prefix begins with the container).

    `profile` names the section of the shared credentials file that holds the key, "" where none was named.
    """

    scheme: str
    bucket: str
    prefix: str
    profile: str = ""

    @property
    def is_s3(self) -> bool:
        """Whether this is S3, or a service that speaks it."""
        return self.scheme == "s3"

    @property
    def url(self) -> str:
        """As the user would name it, without the profile."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


Location = Path | Bucket


def parse_location(url: str) -> Location:
    """The place that `url` names. `/srv/backup` and `file:///srv/backup` are equal (RFC 8089).

    Raises UsageError for other schemes, for `file:` URLs that name another host or a relative path, and for buckets
    whose prefix no object can have.
    """
    if not url:
        raise UsageError(
            "the repository's URL is empty", hint="give a directory, for instance /srv/backup, or s3://bucket/prefix"
        )
    if url.startswith("file:"):
        return _local_path(url)
    if scheme := _SCHEME.match(url):
        if scheme[1].lower() in _BUCKETS:
            return _bucket(url)
        raise UsageError(
            f"cannot use {url!r}: this version does not know {scheme[1]}:// repositories",
            hint="give a local directory (a path, or file:///path) or s3://bucket/prefix",
            code="unknown-scheme",
        )
    return _checked(url, url)


def _bucket(url: str) -> Bucket:
    """Names are taken as they stand: a bucket's objects have no percent-encoding of their own."""
    scheme, _, rest = url.partition("://")
    authority, _, prefix = rest.partition("/")
    profile, _, bucket = authority.rpartition("@")
    if ":" in profile:
        raise UsageError(
            "the repository's URL holds a password",  # and is not repeated here
            hint="keep keys in the shared credentials file and name its section: s3://profile@bucket/prefix",
            code="secret-in-url",
        )
    segments = prefix.removesuffix("/").split("/") if prefix else []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket) or not all(map(_is_segment, segments)):
        raise UsageError(
            f"{url!r} does not name a bucket and a prefix", hint="write it like s3://bucket/prefix", code="bad-url"
        )
    return Bucket(scheme=scheme.lower(), bucket=bucket, prefix="/".join(segments), profile=profile)


def _is_segment(text: str) -> bool:
    return text not in {"", ".", ".."} and text.isprintable() and not set(text) & set('?#%\\"<>^`{|}~*[]')


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
