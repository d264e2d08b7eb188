"""Where the secret comes from that opens a repository. It is never an argument, never logged, and no `repr` shows it.

A recovery key is given like a passphrase.
"""

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from holdfast.core.errors import DeniedError, FailedError, NotFoundError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FromFile:
    """The content of a file, without one trailing newline."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FromCommand:
    """What a command prints, without one trailing newline. Words are split like a shell would; no shell runs."""

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FromEnvironment:
    """The value of a variable."""

    variable: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromKeyFile:
    """A key file: all of its bytes, as they are."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPerson:
    """What a person types when asked."""

    ask: Callable[[], str]


PassphraseSource = FromFile | FromCommand | FromEnvironment | FromKeyFile | FromPerson

LEAST_KEY_FILE_BYTES: Final = 32
_MOST_KEY_FILE_BYTES: Final = 1024 * 1024


def obtain_passphrase(source: PassphraseSource) -> bytes:
    """The passphrase's bytes. Raises UsageError if empty, and NotFoundError, DeniedError or FailedError by source."""
    passphrase, origin = _fetch(source)
    if not passphrase:
        raise UsageError(f"{origin} is empty", hint="an empty passphrase protects nothing", code="empty-passphrase")
    return passphrase


def _fetch(source: PassphraseSource) -> tuple[bytes, str]:
    match source:
        case FromFile(path=path):
            passphrase = _read(path, "passphrase file", "check --passphrase-file or HOLDFAST_PASSPHRASE_FILE")
            return _without_newline(passphrase), f"the passphrase file {path}"
        case FromCommand(command=command):
            return _run(command), f"what the passphrase command {command!r} printed"
        case FromEnvironment(variable=variable, value=value):
            return os.fsencode(value), f"the passphrase in {variable}"
        case FromKeyFile(path=path):
            return read_key_file(path), f"the key file {path}"
        case FromPerson(ask=ask):
            return os.fsencode(ask()), "the passphrase"


def read_key_file(path: Path) -> bytes:
    """Its content. Raises UsageError if that is too little for a key, or far too much."""
    content = _read(path, "key file", "check --key-file or HOLDFAST_KEY_FILE")
    if not LEAST_KEY_FILE_BYTES <= len(content) <= _MOST_KEY_FILE_BYTES:
        raise UsageError(
            f"{path} has {len(content)} bytes and is no key file",
            hint=f"a key file has {LEAST_KEY_FILE_BYTES} bytes or more, all of them random, and 1 MiB at most",
            code="key-file",
        )
    return content


def _read(path: Path, what: str, where: str) -> bytes:
    code = what.replace(" ", "-")
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"no {what} {path}", hint=where, code=code) from error
    except OSError as error:
        message = f"cannot read the {what} {path}: {error.strerror}"
        raise DeniedError(message, hint="check its permissions", code=code) from error


def _run(command: str) -> bytes:
    try:
        words = shlex.split(command)
        if not words:
            raise UsageError("the passphrase command is empty", hint="check --passphrase-command")
        return _without_newline(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    except ValueError as error:
        raise UsageError(
            f"cannot parse the passphrase command {command!r}: {error}", hint="check its quotes"
        ) from error
    except OSError as error:
        raise FailedError(
            f"cannot run the passphrase command {command!r}: {error.strerror}",
            hint="it is run without a shell; give the program's path",
            code="passphrase-command",
        ) from error
    except subprocess.CalledProcessError as error:
        raise FailedError(
            f"the passphrase command {command!r} ended with status {error.returncode}",
            hint="run it by hand; it must print the passphrase and end with 0",
            code="passphrase-command",
        ) from error


def _without_newline(text: bytes) -> bytes:
    return text[:-2] if text.endswith(b"\r\n") else text.removesuffix(b"\n")
