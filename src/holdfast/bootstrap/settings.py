"""Settings: what the command line says, else what the environment says, read once into frozen objects."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from holdfast.bootstrap.buckets import read_s3_settings
from holdfast.bootstrap.location import Bucket, Location, parse_location
from holdfast.bootstrap.passphrase import (
    FromCommand,
    FromEnvironment,
    FromFile,
    FromKeyFile,
    FromPerson,
    PassphraseSource,
)
from holdfast.core.access import S3Settings
from holdfast.core.bandwidth import UNLIMITED, Bandwidth, parse_bandwidth
from holdfast.core.errors import UsageError

REPOSITORY = "HOLDFAST_REPOSITORY"
CONNECT = "HOLDFAST_CONNECT"
BANDWIDTH = "HOLDFAST_BANDWIDTH"
RUN = "HOLDFAST_RUN"


class SecretVariables(NamedTuple):
    """Names of variables that say where a secret comes from: the passphrase, with its _FILE and _COMMAND, or a file."""

    passphrase: str
    key_file: str
    options: str = "--"

    @property
    def hint(self) -> str:
        """What to do if nothing says it."""
        name, option = self.passphrase, self.options
        return (
            f"give {option}passphrase-file, {option}passphrase-command or {option}key-file, "
            f"or set {name}, {name}_FILE, {name}_COMMAND or {self.key_file}"
        )


OWN_SECRET = SecretVariables("HOLDFAST_PASSPHRASE", "HOLDFAST_KEY_FILE")
NEW_SECRET = SecretVariables("HOLDFAST_NEW_PASSPHRASE", "HOLDFAST_NEW_KEY_FILE", "--new-")
TARGET_SECRET = SecretVariables("HOLDFAST_TARGET_PASSPHRASE", "HOLDFAST_TARGET_KEY_FILE")
LIKE_SECRET = SecretVariables("HOLDFAST_LIKE_PASSPHRASE", "HOLDFAST_LIKE_KEY_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said; None where it said nothing."""

    repository: str | None = None
    limit_rate: str | None = None
    passphrase_file: Path | None = None
    passphrase_command: str | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecretOptions:
    """What the command line said of a secret that is to open a repository from now on."""

    passphrase_file: Path | None = None
    passphrase_command: str | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where objects are, how to reach them if that is S3, how fast they may move; where we remember them."""

    location: Location
    cache: Path
    s3: S3Settings | None = None
    bandwidth: Bandwidth = UNLIMITED

    @property
    def url(self) -> str:
        """As the user would name it."""
        return self.location.url if isinstance(self.location, Bucket) else str(self.location)

    @property
    def identity(self) -> str:
        """What tells this storage from all others: links are followed, buckets of one name have their endpoints."""
        if isinstance(self.location, Path):
            return str(self.location.resolve())
        endpoint = self.s3.endpoint if self.s3 else None
        return f"{self.location.url} {endpoint or ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """Which repository, and where its passphrase comes from."""

    storage: StorageSettings
    passphrase: PassphraseSource

    @property
    def cache(self) -> Path:
        """Where what we remember of repositories is kept."""
        return self.storage.cache


def is_passphrase_given(options: Options, environment: Mapping[str, str]) -> bool:
    """Whether the command line or the environment says where a passphrase is."""
    return bool(_from_options(options) or _from_environment(environment))


def read_repository_settings(
    options: Options, environment: Mapping[str, str], *, ask: Callable[[], str] | None
) -> RepositorySettings:
    """Settings of a command that opens or creates a repository. `ask` asks a person, None if nobody is there.

    Raises UsageError where something is missing or given twice.
    """
    return RepositorySettings(
        storage=read_storage_settings(options, environment),
        passphrase=_find_secret(options, environment, ask),
    )


def read_second_settings(
    first: RepositorySettings, options: Options, environment: Mapping[str, str], variables: SecretVariables
) -> RepositorySettings:
    """Settings of a second repository, the one in `options`; its secret is the first one's unless it has its own.

    Raises UsageError where something is given twice, or nothing is named.
    """
    given = _only_one(_from_environment(environment, variables))
    return RepositorySettings(storage=read_storage_settings(options, environment), passphrase=given or first.passphrase)


def find_new_secret(
    options: NewSecretOptions, environment: Mapping[str, str], ask: Callable[[], str] | None
) -> PassphraseSource:
    """Where a new secret comes from. Raises UsageError where something is missing or given twice."""
    return _find_secret(options, environment, ask, NEW_SECRET)


def read_storage_settings(options: Options, environment: Mapping[str, str]) -> StorageSettings:
    """Settings of a look that needs no key. Raises UsageError if no repository is named, and as `read_s3_settings`."""
    url = options.repository if options.repository is not None else environment.get(REPOSITORY)
    if not url:
        raise UsageError("no repository given", hint=f"give --repository URL or set {REPOSITORY}", code="no-repository")
    location = parse_location(url)
    return StorageSettings(
        location=location,
        cache=_cache_directory(environment),
        s3=read_s3_settings(location, environment) if isinstance(location, Bucket) and location.is_s3 else None,
        bandwidth=_find_bandwidth(options, environment),
    )


def find_connection(option: str | None, environment: Mapping[str, str]) -> str:
    """The hypervisor's URI. Raises UsageError if none is named."""
    uri = option or environment.get(CONNECT)
    if not uri:
        raise UsageError(
            "no hypervisor given",
            hint=f"give --connect URI, for instance qemu:///system, or set {CONNECT}",
            code="no-connection",
        )
    return uri


def find_run_directory(environment: Mapping[str, str]) -> Path:
    """Where what runs on this host keeps its sockets and says that it runs."""
    if given := environment.get(RUN):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/run/holdfast")  # not root's session's, which ends with the session
    base = environment.get("XDG_RUNTIME_DIR")
    return Path(base) / "holdfast" if base else Path(f"/tmp/holdfast-{os.geteuid()}")  # noqa: S108 - made for us alone


def _find_bandwidth(options: Options, environment: Mapping[str, str]) -> Bandwidth:
    said, source = options.limit_rate, "--limit-rate"
    if said is None:
        said, source = environment.get(BANDWIDTH), BANDWIDTH
        said = said or None  # a variable that is set to nothing is not set
    return UNLIMITED if said is None else parse_bandwidth(said, source)


def _cache_directory(environment: Mapping[str, str]) -> Path:
    """Where disposable state belongs: the cache home of the XDG Base Directory Specification."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


def _find_secret(
    options: Options | NewSecretOptions,
    environment: Mapping[str, str],
    ask: Callable[[], str] | None,
    variables: SecretVariables = OWN_SECRET,
) -> PassphraseSource:
    given = _only_one(_from_options(options, variables.options) or _from_environment(environment, variables))
    if given is not None:
        return given
    if ask is None:
        raise UsageError("no passphrase given, and no terminal to ask on", hint=variables.hint, code="no-passphrase")
    return FromPerson(ask=ask)


def _only_one(given: Mapping[str, PassphraseSource]) -> PassphraseSource | None:
    if len(given) > 1:
        names = " and ".join(given)
        raise UsageError(f"the passphrase comes from two places: {names}", hint="keep one", code="two-passphrases")
    return next(iter(given.values()), None)


def _from_options(options: Options | NewSecretOptions, prefix: str = "--") -> dict[str, PassphraseSource]:
    given: dict[str, PassphraseSource] = {}
    if options.passphrase_file is not None:
        given[f"{prefix}passphrase-file"] = FromFile(path=options.passphrase_file)
    if options.passphrase_command is not None:
        given[f"{prefix}passphrase-command"] = FromCommand(command=options.passphrase_command)
    if options.key_file is not None:
        given[f"{prefix}key-file"] = FromKeyFile(path=options.key_file)
    return given


def _from_environment(
    environment: Mapping[str, str], variables: SecretVariables = OWN_SECRET
) -> dict[str, PassphraseSource]:
    given: dict[str, PassphraseSource] = {}
    name = variables.passphrase
    if name in environment:
        given[name] = FromEnvironment(variable=name, value=environment[name])
    if path := environment.get(f"{name}_FILE"):
        given[f"{name}_FILE"] = FromFile(path=Path(path))
    if command := environment.get(f"{name}_COMMAND"):
        given[f"{name}_COMMAND"] = FromCommand(command=command)
    if path := environment.get(variables.key_file):
        given[variables.key_file] = FromKeyFile(path=Path(path))
    return given
