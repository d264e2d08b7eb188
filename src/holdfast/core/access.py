"""What must be known to reach an S3 service."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Credentials:
    """An access key. Only its secret parts are kept out of sight."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """How to reach an S3 service.

    `credentials` is asked again every few minutes, so that keys may change while a backup runs; None leaves it to the
    platform: the role of an instance or a container.
    """

    region: str
    endpoint: str | None = None
    path_style: bool = False
    authority: bytes | None = None
    credentials: Callable[[], S3Credentials] | None = field(default=None, repr=False)
    timeout_s: float = 300
