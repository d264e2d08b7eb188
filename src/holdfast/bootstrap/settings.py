"""Settings: what the command line says, else what the environment says, read once into frozen objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.bootstrap.location import parse_location
from holdfast.bootstrap.passphrase import FromCommand, FromEnvironment, FromFile, FromPerson, PassphraseSource
from holdfast.core.errors import UsageError

REPOSITORY = "HOLDFAST_REPOSITORY"
PASSPHRASE = "HOLDFAST_PASSPHRASE"  # noqa: S105 - the variable's name
PASSPHRASE_FILE = "HOLDFAST_PASSPHRASE_FILE"  # noqa: S105
PASSPHRASE_COMMAND = "HOLDFAST_PASSPHRASE_COMMAND"  # noqa: S105
CONNECT = "HOLDFAST_CONNECT"

_PASSPHRASE_HINT = (
    f"give --passphrase-file or --passphrase-command, or set {PASSPHRASE}, {PASSPHRASE_FILE} or {PASSPHRASE_COMMAND}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said; None where it said nothing."""

    repository: str | None = None
    passphrase_file: Path | None = None
    passphrase_command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """Which repository, where its passphrase comes from, and where what we remember of it is kept."""

    directory: Path
    passphrase: PassphraseSource
    cache: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Which repository, for those who look at it without a key."""

    directory: Path
    cache: Path


def read_storage_settings(options: Options, environment: Mapping[str, str]) -> StorageSettings:
    """Settings of a command that needs no key. Raises UsageError if no repository is named."""
    return StorageSettings(directory=find_repository(options, environment), cache=_cache_directory(environment))


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
        directory=find_repository(options, environment),
        passphrase=_find_passphrase(options, environment, ask),
        cache=_cache_directory(environment),
    )


def find_repository(options: Options, environment: Mapping[str, str]) -> Path:
    """The repository's directory. Raises UsageError if none is named."""
    url = options.repository if options.repository is not None else environment.get(REPOSITORY)
    if not url:
        raise UsageError("no repository given", hint=f"give --repository URL or set {REPOSITORY}", code="no-repository")
    return parse_location(url)


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


def _cache_directory(environment: Mapping[str, str]) -> Path:
    """Where disposable state belongs: the cache home of the XDG Base Directory Specification."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


def _find_passphrase(
    options: Options, environment: Mapping[str, str], ask: Callable[[], str] | None
) -> PassphraseSource:
    given = _from_options(options) or _from_environment(environment)
    if len(given) > 1:
        names = " and ".join(given)
        raise UsageError(f"the passphrase comes from two places: {names}", hint="keep one", code="two-passphrases")
    if given:
        return next(iter(given.values()))
    if ask is None:
        raise UsageError("no passphrase given, and no terminal to ask on", hint=_PASSPHRASE_HINT, code="no-passphrase")
    return FromPerson(ask=ask)


def _from_options(options: Options) -> dict[str, PassphraseSource]:
    given: dict[str, PassphraseSource] = {}
    if options.passphrase_file is not None:
        given["--passphrase-file"] = FromFile(path=options.passphrase_file)
    if options.passphrase_command is not None:
        given["--passphrase-command"] = FromCommand(command=options.passphrase_command)
    return given


def _from_environment(environment: Mapping[str, str]) -> dict[str, PassphraseSource]:
    given: dict[str, PassphraseSource] = {}
    if PASSPHRASE in environment:
        given[PASSPHRASE] = FromEnvironment(value=environment[PASSPHRASE])
    if path := environment.get(PASSPHRASE_FILE):
        given[PASSPHRASE_FILE] = FromFile(path=Path(path))
    if command := environment.get(PASSPHRASE_COMMAND):
        given[PASSPHRASE_COMMAND] = FromCommand(command=command)
    return given
