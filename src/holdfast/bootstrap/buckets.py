"""How to reach a bucket of S3: variables, and the shared configuration of the AWS tools.

First counts what is named HOLDFAST_S3_…, then the profile that the URL names, then the variables of the AWS tools, then
the profile of AWS_PROFILE or `default`. A key, its secret and its token come from one of these together. Secrets are
never logged, and no `repr` and no error shows them.
"""

import configparser
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from holdfast.bootstrap.location import Bucket
from holdfast.core.access import S3Credentials, S3Settings
from holdfast.core.errors import DeniedError, NotFoundError, UsageError

_DEFAULT_REGION: Final = "us-east-1"
_DEFAULT_TIMEOUT: Final = "300"

# Everywhere the keys are those of the AWS tools' configuration file.
_OWN: Final = {
    "endpoint_url": ("HOLDFAST_S3_ENDPOINT",),
    "region": ("HOLDFAST_S3_REGION",),
    "ca_bundle": ("HOLDFAST_S3_CA_FILE",),
    "aws_access_key_id": ("HOLDFAST_S3_ACCESS_KEY_ID",),
    "aws_secret_access_key": ("HOLDFAST_S3_SECRET_ACCESS_KEY",),
    "aws_session_token": ("HOLDFAST_S3_SESSION_TOKEN",),
}
_TOOLS: Final = {
    "endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "ca_bundle": ("AWS_CA_BUNDLE",),
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID",),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "aws_session_token": ("AWS_SESSION_TOKEN",),
}
_PLATFORM: Final = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Where one of these is set, the platform gives the process a role."""

Source = Mapping[str, str]


def read_s3_settings(bucket: Bucket, environment: Mapping[str, str]) -> S3Settings:
    """Endpoint, region, trust and credentials for one bucket.

    Raises UsageError for a value that makes no sense, NotFoundError for a missing profile or file, DeniedError for an
    unreadable one, or if there are no credentials.
    """
    sources = _sources(bucket, environment)
    found = {key: value for source in reversed(sources) for key, value in source.items()}
    endpoint = found.get("endpoint_url")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UsageError(f"the endpoint {endpoint!r} is no URL", hint="write it like https://s3.example.org")
    by_platform = _are_by_platform(environment, sources)
    if not by_platform:
        _key(bucket, environment)  # that there is none is better said now
    return S3Settings(
        region=found.get("region", _DEFAULT_REGION),
        endpoint=endpoint,
        path_style=_is_path_style(environment.get("HOLDFAST_S3_ADDRESSING", ""), endpoint),
        authority=_authority(found.get("ca_bundle")),
        credentials=None if by_platform else partial(_key, bucket, environment),
        timeout_s=_seconds(environment.get("HOLDFAST_S3_TIMEOUT", _DEFAULT_TIMEOUT)),
    )


def _sources(bucket: Bucket, environment: Mapping[str, str]) -> Sequence[Source]:
    """What may say something about a bucket, the most important first."""
    own, tools = (
        {key: value for key, names in table.items() if (value := next(filter(None, map(environment.get, names)), None))}
        for table in (_OWN, _TOOLS)
    )
    profile = _profile(bucket.profile or environment.get("AWS_PROFILE") or "default", environment)
    return (own, profile, tools) if bucket.profile else (own, tools, profile)


def _profile(name: str, environment: Mapping[str, str]) -> Source:
    """A profile's section of the configuration file, under its section of the credentials file."""
    home = Path(environment.get("HOME") or Path.home())
    config = Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config")
    shared = environment.get("HOLDFAST_S3_CREDENTIALS_FILE") or environment.get("AWS_SHARED_CREDENTIALS_FILE")
    credentials = Path(shared or home / ".aws" / "credentials")
    found = {**_section(config, name if name == "default" else f"profile {name}"), **_section(credentials, name)}
    if not found and name != "default":
        hint = f"it must be a section of {credentials} or {config}"
        raise NotFoundError(f"there is no profile {name!r} for object storage", hint=hint, code="no-profile")
    return {key: value for key, value in found.items() if value}


def _section(path: Path, name: str) -> Source:
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in the form of the AWS tools"
        raise DeniedError(f"cannot read {path}: {reason}", hint="check the file", code="credentials-file") from None
    return dict(parser.items(name)) if parser.has_section(name) else {}


def _are_by_platform(environment: Mapping[str, str], sources: Sequence[Source]) -> bool:
    """Whether the role of an instance or container is used: if it is asked for, or offered and nothing else given."""
    said = environment.get("HOLDFAST_S3_CREDENTIALS", "keys")
    if said not in {"keys", "platform"}:
        hint = "set it to `keys` (the default) or `platform`"
        raise UsageError(f"HOLDFAST_S3_CREDENTIALS is {said!r}", hint=hint, code="bad-setting")
    has_key = any("aws_access_key_id" in source for source in sources)
    return said == "platform" or (not has_key and any(map(environment.get, _PLATFORM)))


def _key(bucket: Bucket, environment: Mapping[str, str]) -> S3Credentials:
    """The first key that is whole. Files are read anew each time: keys may be renewed while a backup runs."""
    for source in _sources(bucket, environment):
        if "aws_access_key_id" in source and "aws_secret_access_key" in source:
            return S3Credentials(
                access_key_id=source["aws_access_key_id"],
                secret_access_key=source["aws_secret_access_key"],
                session_token=source.get("aws_session_token"),
            )
    raise DeniedError(
        f"no credentials for {bucket.url}",
        hint="set HOLDFAST_S3_ACCESS_KEY_ID and HOLDFAST_S3_SECRET_ACCESS_KEY, or write them to ~/.aws/credentials; "
        "HOLDFAST_S3_CREDENTIALS=platform uses the role of an instance",
        code="no-credentials",
    )


def _is_path_style(said: str, endpoint: str | None) -> bool:
    """Whether the bucket's name goes into the path; unless told otherwise, it does for all but AWS itself."""
    if said not in {"", "path", "virtual"}:
        hint = "set it to `path` or `virtual`"
        raise UsageError(f"HOLDFAST_S3_ADDRESSING is {said!r}", hint=hint, code="bad-setting")
    return said == "path" or (not said and endpoint is not None)


def _authority(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        message = f"cannot read the certificate authority {path}: {error.strerror}"
        raise NotFoundError(message, hint="check HOLDFAST_S3_CA_FILE", code="ca-file") from error


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"HOLDFAST_S3_TIMEOUT is {text!r}", hint="give a number of seconds", code="bad-setting")
    return int(text)
