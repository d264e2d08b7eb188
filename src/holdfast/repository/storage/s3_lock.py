"""Object lock of S3: retention in the mode COMPLIANCE, versions, and deletes that name one.

The library that carries objects knows none of these requests, so they go through one that knows all of S3. It is told
to try nothing again, and is loaded when the first such request is made.
"""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from holdfast.core.access import S3Credentials, S3Settings
from holdfast.core.errors import DeniedError, HoldfastError
from holdfast.repository.storage.answers import answered
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.port import (
    MAXIMUM_OBJECT_BYTES,
    ObjectMissingError,
    Retention,
    StorageError,
    StorageUnreachableError,
    Version,
)

if TYPE_CHECKING:
    from minio import Minio
    from minio.credentials.providers import Provider

_AWS: Final = "https://s3.amazonaws.com"
_CONNECTIONS: Final = 16
_CONNECT_S: Final = 10.0
_NO_LOCK: Final = {"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"}
_STATUS: Final = re.compile(r"[Cc]ode:? (\d{3})")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class S3Lock:
    """Versions and locks of the objects below a prefix of a bucket. Safe to use from many threads."""

    def __init__(
        self, bucket: str, prefix: str, url: str, settings: S3Settings, patience: Patience | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = url
        self._settings = settings
        self._patience = patience or Patience()

    def is_enabled(self) -> bool:
        """See the port."""
        return self._patience.run(self._is_enabled)

    def lock(self, name: str, until: datetime) -> None:
        """See the port."""
        self._patience.run(partial(self._lock, name, until))

    def retention(self, name: str) -> Retention:
        """See the port."""
        return self._patience.run(lambda: self._retention_of(self._object(name)))

    def versions(self, prefix: str) -> Iterator[Version]:
        """See the port."""
        listed = self._patience.run(lambda: list(self._list(prefix)))
        for _, versions in groupby(sorted(listed, key=lambda each: each.name), key=lambda each: each.name):
            yield from versions

    def read(self, version: Version) -> bytes:
        """See the port."""
        return self._patience.run(partial(self._read, version))

    def remove(self, version: Version) -> None:
        """See the port."""
        self._patience.run(partial(self._remove, version))

    @cached_property
    def _client(self) -> "Minio":
        import urllib3  # noqa: PLC0415 - see above
        from minio import Minio  # noqa: PLC0415

        trust = ssl.create_default_context()
        if self._settings.authority:
            trust.load_verify_locations(cadata=self._settings.authority.decode("ascii", "replace"))
        endpoint = urlsplit(self._settings.endpoint or _AWS)
        client = Minio(
            endpoint.netloc,
            secure=endpoint.scheme == "https",
            region=self._settings.region,
            credentials=_provider(self._settings.credentials),
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=self._settings.timeout_s),
                maxsize=_CONNECTIONS,
                retries=False,
                ssl_context=trust,
            ),
        )
        if self._settings.path_style:
            client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        else:
            client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        return client

    def _is_enabled(self) -> bool:
        from minio.error import S3Error  # noqa: PLC0415

        with _meaning(self._url, ""):
            try:
                self._client.get_object_lock_config(self._bucket)
            except S3Error as error:
                if error.code not in _NO_LOCK:
                    raise
                return False
        return True

    def _lock(self, name: str, until: datetime) -> None:
        """Who may not make a lock shorter is told that it is denied, so then the lock that is there is looked at."""
        from minio.commonconfig import COMPLIANCE  # noqa: PLC0415
        from minio.retention import Retention as Wanted  # noqa: PLC0415

        version = self._object(name)
        try:
            with _meaning(self._url, name):
                self._client.set_object_retention(
                    self._bucket, self._prefix + name, Wanted(COMPLIANCE, until), version_id=version.id
                )
        except DeniedError:
            there = self._retention_of(version).until
            if there is None or there < until:
                raise

    def _object(self, name: str) -> Version:
        """The oldest version of a name."""
        found = [each for each in self._list(name) if each.name == name and not each.hides]
        if not found:
            raise ObjectMissingError(f"{self._url}/{name} does not exist", code="object-missing")
        return found[-1]

    def _retention_of(self, version: Version) -> Retention:
        with _meaning(self._url, version.name):
            said = self._client.stat_object(self._bucket, self._prefix + version.name, version_id=version.id).metadata
            assert said is not None
            until = None
            if said.get("x-amz-object-lock-mode") == "COMPLIANCE":
                until = _moment(said["x-amz-object-lock-retain-until-date"])
            return Retention(until, parsedate_to_datetime(said["date"]))

    def _list(self, prefix: str) -> Iterator[Version]:
        """Of one name the newest first, marks after contents."""
        with _meaning(self._url, prefix):
            for found in self._client.list_objects(
                self._bucket, self._prefix + prefix, recursive=True, include_version=True
            ):
                name = (found.object_name or "").removeprefix(self._prefix)
                yield Version(
                    name, found.version_id or "", found.size or 0, found.is_delete_marker, found.is_latest == "true"
                )

    def _read(self, version: Version) -> bytes:
        if version.size > MAXIMUM_OBJECT_BYTES:
            message = f"{self._url}/{version.name} is {version.size} bytes large, no object of a repository is"
            raise StorageError(message, code="oversized")
        with _meaning(self._url, version.name):
            answer = self._client.get_object(self._bucket, self._prefix + version.name, version_id=version.id)
            try:
                return bytes(answer.read())
            finally:
                answer.close()
                answer.release_conn()

    def _remove(self, version: Version) -> None:
        with _meaning(self._url, version.name):
            self._client.remove_object(self._bucket, self._prefix + version.name, version_id=version.id)


def _provider(credentials: Callable[[], S3Credentials] | None) -> "Provider":
    """What is asked for the key at each request: the same that the other library asks, or the platform."""
    from minio.credentials.credentials import Credentials  # noqa: PLC0415
    from minio.credentials.providers import IamAwsProvider, Provider  # noqa: PLC0415

    if credentials is None:
        return IamAwsProvider()
    asked = credentials

    class Ours(Provider):
        def retrieve(self) -> Credentials:
            key = asked()
            return Credentials(key.access_key_id, key.secret_access_key, key.session_token)

    return Ours()


@contextmanager
def _meaning(url: str, name: str) -> Iterator[None]:
    """Turn the library's errors about one object into ours. Its texts may hold what must not be shown."""
    from minio.error import MinioException, S3Error  # noqa: PLC0415
    from urllib3.exceptions import HTTPError, SSLError  # noqa: PLC0415

    where = f"{url}/{name}".rstrip("/")
    try:
        yield
    except S3Error as error:
        raise answered(url, name, error.response.status, error.code or "") from None
    except MinioException as error:
        found = _STATUS.search(str(error))
        raise answered(url, name, int(found[1]) if found else 0, "") from None
    except SSLError:
        hint = "set HOLDFAST_S3_CA_FILE to the certificate of the authority that signed the store's"
        raise DeniedError(f"{where}: the store's certificate is not trusted", hint=hint, code="certificate") from None
    except (HTTPError, OSError):
        hint = "check the endpoint and the network, then run again"
        raise StorageUnreachableError(f"{where}: the connection broke", hint=hint, code="store-unreachable") from None
    except HoldfastError:
        raise
    except (ValueError, KeyError, SyntaxError):  # the last of an XML that is none
        message = f"{where}: the store's answer makes no sense"
        raise StorageError(message, hint="check that it is an object store") from None


def _moment(text: str) -> datetime:
    """A time in UTC with as many digits of its fraction as the store likes; they do not count."""
    found = _TIME.match(text)
    if found is None:
        raise ValueError(text)
    return datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
