"""Secrets that are to open a repository from now on: chosen by people, or made here."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from holdfast.bootstrap.passphrase import FromKeyFile, PassphraseSource, obtain_passphrase, read_key_file
from holdfast.core.errors import DeniedError, FullError, HoldfastError, RefusedError
from holdfast.platforms.errors import is_full
from holdfast.platforms.files.publishing import sync_directory
from holdfast.repository import RANDOM_SECRET, KdfCost, Secret, new_recovery_key

_KEY_FILE_BYTES: Final = 64


def obtain_new_secret(source: PassphraseSource) -> Secret:
    """A passphrase, or a key file: one that does not exist yet is made of random bytes.

    An existing file is taken as it is; trying it costs as much as a passphrase, since nobody knows how random it is.
    """
    if not isinstance(source, FromKeyFile):
        return Secret(content=obtain_passphrase(source), kind="passphrase", cost=KdfCost())
    if source.path.exists():
        return Secret(content=read_key_file(source.path), kind="key-file", cost=KdfCost())
    content = secrets.token_bytes(_KEY_FILE_BYTES)
    with private_file(source.path) as file:
        file.write(content)
    return Secret(content=content, kind="key-file", cost=RANDOM_SECRET)


def new_recovery_secret() -> Secret:
    """The words of a fresh recovery key."""
    return Secret(content=new_recovery_key().encode(), kind="recovery", cost=RANDOM_SECRET)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read: durable when the context ends, gone if that ends with an error.

    Raises RefusedError if there is one, FullError, DeniedError.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _translated(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        sync_directory(path.absolute().parent)
    except BaseException as error:
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise _translated(path, error) from error
        raise


def _translated(path: Path, error: OSError) -> HoldfastError:
    if isinstance(error, FileExistsError):
        return RefusedError(f"{path} exists", hint="give another name, or move it away", code="file-exists")
    if is_full(error):
        return FullError(f"no space left for {path}", hint="make room or choose another place")
    return DeniedError(f"cannot write {path}: {error.strerror}", hint="choose a place you may write to", code="no-file")
