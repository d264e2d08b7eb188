"""What the answers of an object store mean, as errors of ours.

The library gives status and body of an answer only in the text of its exceptions. That text is searched and never
passed on: what we say holds the status and the store's own code, no address, no header, no credential.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError

from holdfast.core.errors import DeniedError, FullError, HoldfastError, NotFoundError
from holdfast.repository.storage.port import ObjectMissingError, StorageError, StorageUnreachableError

_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>|\(code: (\w{1,64})\)")
_NO_OBJECT: Final = {"NoSuchKey", "BlobNotFound"}
_NO_BUCKET: Final = {"NoSuchBucket", "ContainerNotFound"}


class _Verdict(NamedTuple):
    """The error that an answer becomes."""

    kind: type[HoldfastError]
    code: str
    hint: str


_BUSY: Final = _Verdict(StorageUnreachableError, "store-busy", "the store is busy or in trouble: run again later")
_FULL: Final = _Verdict(FullError, "full", "raise the quota or make room, run again")
_EXPIRED: Final = _Verdict(
    DeniedError, "credentials-expired", "the credentials have expired: get new ones and run again; what is stored stays"
)
_ELSEWHERE: Final = _Verdict(StorageError, "wrong-region", "set HOLDFAST_S3_REGION to the bucket's region")
_DENIED: Final = _Verdict(
    DeniedError,
    "store-denied",
    "check the access key, its secret, and what its policy allows on this bucket and prefix",
)
_OTHER: Final = _Verdict(StorageError, "store-refused", "look at the store's own log, then run again")

_BY_CODE: Final = {
    **dict.fromkeys(
        ("RequestTimeout", "SlowDown", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch"), _BUSY
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(("QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull"), _FULL),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed"), _ELSEWHERE),
    "AccessDenied": _DENIED,
    "RequestTimeTooSkewed": _Verdict(DeniedError, "clock-skewed", "set this computer's clock"),
}
_BY_STATUS: Final = {
    **dict.fromkeys((408, 429, 500, 502, 503, 504), _BUSY),
    **dict.fromkeys((401, 403), _DENIED),
    **dict.fromkeys((301, 307), _ELSEWHERE),
    416: _Verdict(StorageError, "truncated", "the object is shorter than it was: run `holdfast repository check`"),
    501: _Verdict(StorageError, "store-too-old", "the store must know `If-None-Match: *` on puts"),
    507: _FULL,
}

_SILENCE: Final = {
    "ConnectionRefused": "the connection was refused",
    "dns error": "its name cannot be resolved",
    "kind: Timeout": "it did not answer in time",
    "TimedOut": "it did not answer in time",
}


@contextmanager
def meaning(url: str, name: str) -> Iterator[None]:
    """Turn the library's errors about one object into ours; that an object exists already passes as it is."""
    try:
        yield
    except AlreadyExistsError:
        raise
    except (BaseError, OSError, ValueError) as error:
        raise _translated(error, url, name) from None  # its text may hold what must not be shown


def _translated(error: Exception, url: str, name: str) -> HoldfastError:
    text = str(error)
    where = f"{url}/{name}".rstrip("/")
    if isinstance(error, InvalidPathError):
        message = f"{where}: an object there has a name that none of ours can have"
        return StorageError(message, hint="remove what other programs put below the repository", code="foreign-name")
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = (found[1] or found[2]) if (found := _CODE.search(text)) else ""
    if not status and not code:
        return _unanswered(where, text)
    if not code and status == 404 and "performing HEAD" in text:
        code = "NoSuchKey"
    return answered(url, name, status, code)


def answered(url: str, name: str, status: int, code: str) -> HoldfastError:
    """The error that an answer of the store about one object becomes: its status, and the store's own code or ""."""
    where = f"{url}/{name}".rstrip("/")
    if code in _NO_BUCKET:
        return NotFoundError(f"{url}: there is no such bucket", hint="check its name, or make it", code="no-bucket")
    if code in _NO_OBJECT:
        return ObjectMissingError(f"{where} does not exist", code="object-missing")
    verdict = _BY_CODE.get(code) or _BY_STATUS.get(status, _OTHER)
    said = f"{where}: the store answered {' '.join(filter(None, (str(status or ''), code)))}"
    return verdict.kind(said, hint=verdict.hint, code=verdict.code)


def _unanswered(where: str, text: str) -> HoldfastError:
    if "InvalidCertificate" in text:
        hint = "set HOLDFAST_S3_CA_FILE to the certificate of the authority that signed the store's"
        return DeniedError(f"{where}: the store's certificate is not trusted", hint=hint, code="certificate")
    if "incorrectly configured region" in text:
        return _ELSEWHERE.kind(f"{where}: the bucket is elsewhere", hint=_ELSEWHERE.hint, code=_ELSEWHERE.code)
    if "HTTP error" in text:
        why = next((words for sign, words in _SILENCE.items() if sign in text), "the connection broke")
        hint = "check the endpoint and the network, then run again"
        return StorageUnreachableError(f"{where}: {why}", hint=hint, code="store-unreachable")
    if "credential" in text:
        hint = "check the credentials: docs/object-storage.md says where they are looked for"
        return DeniedError(f"{where}: there are no credentials to be had", hint=hint, code="no-credentials")
    return StorageError(f"{where}: the store's answer makes no sense", hint="check that it is an object store")
