"""Settings: what the command line says, else what the environment says, read once into frozen objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.bootstrap.buckets import read_s3_settings
from holdfast.bootstrap.location import Bucket, Location, parse_location
from holdfast.bootstrap.passphrase import FromCommand, FromEnvironment, FromFile, FromPerson, PassphraseSource
from holdfast.core.access import S3Settings
from holdfast.core.errors import UsageError
from holdfast.core.sizes import parse_rate

REPOSITORY = "HOLDFAST_REPOSITORY"
PASSPHRASE = "HOLDFAST_PASSPHRASE"  # noqa: S105 - the variable's name
TARGET_PASSPHRASE = "HOLDFAST_TARGET_PASSPHRASE"  # noqa: S105
CONNECT = "HOLDFAST_CONNECT"
BANDWIDTH = "HOLDFAST_BANDWIDTH"

_PASSPHRASE_HINT = (
    f"give --passphrase-file or --passphrase-command, or set {PASSPHRASE}, {PASSPHRASE}_FILE or {PASSPHRASE}_COMMAND"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said; None where it said nothing."""

    repository: str | None = None
    limit_rate: str | None = None
    passphrase_file: Path | None = None
    passphrase_command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where objects are, how to reach them if that is S3, how fast they may move; where we remember them."""

    location: Location
    cache: Path
    s3: S3Settings | None = None
    bytes_per_second: int | None = None

    @property
    def url(self) -> str:
        """As the user would name it."""
        return self.location.url if isinstance(self.location, Bucket) else str(self.location)


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
    return bool(_from_options(options) or _from_environment(environment, PASSPHRASE))


def read_repository_settings(
    options: Options, environment: Mapping[str, str], *, ask: Callable[[], str] | None
) -> RepositorySettings:
    """Settings of a command that opens or creates a repository. `ask` asks a person, None if nobody is there.

    Raises UsageError where something is missing or given twice.
    """
    return RepositorySettings(
        storage=read_storage_settings(options, environment),
        passphrase=_find_passphrase(options, environment, ask),
    )


def read_target_settings(
    source: RepositorySettings, options: Options, environment: Mapping[str, str]
) -> RepositorySettings:
    """Settings of the repository in `options`, to be copied to; its passphrase is the source's unless it has its own.

    Raises UsageError where something is given twice, or nothing is named.
    """
    given = _only_one(_from_environment(environment, TARGET_PASSPHRASE))
    return RepositorySettings(
        storage=read_storage_settings(options, environment), passphrase=given or source.passphrase
    )


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
        bytes_per_second=_find_rate(options, environment),
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


def _find_rate(options: Options, environment: Mapping[str, str]) -> int | None:
    said = options.limit_rate if options.limit_rate is not None else environment.get(BANDWIDTH)
    if not said:
        return None
    rate = parse_rate(said)
    if rate is None:
        raise UsageError(f"{said!r} is no bandwidth", hint="write it like 500K or 20MiB/s", code="bad-rate")
    return rate


def _cache_directory(environment: Mapping[str, str]) -> Path:
    """Where disposable state belongs: the cache home of the XDG Base Directory Specification."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


def _find_passphrase(
    options: Options, environment: Mapping[str, str], ask: Callable[[], str] | None
) -> PassphraseSource:
    given = _only_one(_from_options(options) or _from_environment(environment, PASSPHRASE))
    if given is not None:
        return given
    if ask is None:
        raise UsageError("no passphrase given, and no terminal to ask on", hint=_PASSPHRASE_HINT, code="no-passphrase")
    return FromPerson(ask=ask)


def _only_one(given: Mapping[str, PassphraseSource]) -> PassphraseSource | None:
    if len(given) > 1:
        names = " and ".join(given)
        raise UsageError(f"the passphrase comes from two places: {names}", hint="keep one", code="two-passphrases")
    return next(iter(given.values()), None)


def _from_options(options: Options) -> dict[str, PassphraseSource]:
    given: dict[str, PassphraseSource] = {}
    if options.passphrase_file is not None:
        given["--passphrase-file"] = FromFile(path=options.passphrase_file)
    if options.passphrase_command is not None:
        given["--passphrase-command"] = FromCommand(command=options.passphrase_command)
    return given


def _from_environment(environment: Mapping[str, str], variable: str) -> dict[str, PassphraseSource]:
    """What `variable` and its two siblings say."""
    given: dict[str, PassphraseSource] = {}
    if variable in environment:
        given[variable] = FromEnvironment(variable=variable, value=environment[variable])
    if path := environment.get(f"{variable}_FILE"):
        given[f"{variable}_FILE"] = FromFile(path=Path(path))
    if command := environment.get(f"{variable}_COMMAND"):
        given[f"{variable}_COMMAND"] = FromCommand(command=command)
    return given
