"""Opening a bucket: what each provider of object storage needs to be told.

The library is told to try nothing again: Patience does, where it can be interrupted.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from obstore.store import AzureStore, GCSStore, S3Store

from holdfast.core.access import S3Credentials, S3Settings
from holdfast.repository.storage.objects import ObjectStorage
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.s3_lock import S3Lock

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

_REFRESH: Final = timedelta(minutes=10)


def open_s3(
    bucket: str, prefix: str, url: str, settings: S3Settings, patience: Patience | None = None
) -> ObjectStorage:
    """A bucket of S3, or of a service that speaks it. Does not ask the service anything yet."""
    store = S3Store(
        bucket,
        prefix=prefix or None,
        region=settings.region,
        virtual_hosted_style_request=not settings.path_style,
        checksum_algorithm="sha256",
        credential_provider=_provider(settings.credentials) if settings.credentials else None,
        client_options=_client_options(settings),
        retry_config={"max_retries": 0},
        config={"endpoint": settings.endpoint} if settings.endpoint else None,
    )
    return ObjectStorage(store, url, patience, S3Lock(bucket, prefix, url, settings, patience))


def open_google(url: str, patience: Patience | None = None) -> ObjectStorage:
    """A bucket of Google Cloud Storage, by what Google's own variables say."""
    return ObjectStorage(GCSStore.from_url(url, retry_config={"max_retries": 0}), url, patience)


def open_azure(url: str, patience: Patience | None = None) -> ObjectStorage:
    """A container of Azure Blob Storage (az://account/container/prefix), by what Azure's own variables say."""
    return ObjectStorage(AzureStore.from_url(url, retry_config={"max_retries": 0}), url, patience)


def _client_options(settings: S3Settings) -> "ClientConfig":
    options: ClientConfig = {"timeout": timedelta(seconds=settings.timeout_s), "connect_timeout": timedelta(seconds=10)}
    if settings.endpoint and settings.endpoint.startswith("http://"):
        options["allow_http"] = True
    if settings.authority:
        options["root_certificate"] = settings.authority
    return options


def _provider(credentials: Callable[[], S3Credentials]) -> "Callable[[], S3Credential]":
    def provide() -> "S3Credential":
        key = credentials()
        provided: S3Credential = {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "token": key.session_token,
            "expires_at": datetime.now(UTC) + _REFRESH,
        }
        return provided

    return provide
