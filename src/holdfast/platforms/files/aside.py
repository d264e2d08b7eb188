"""Images that are being overwritten, set aside under a name that shows it.

A half-overwritten image is neither what it was nor what it is to be. Under its own name a machine would start from it,
and a backup would take it for a disk. So it is renamed before the first byte is written and gets its name back after
the last one: there is no instant, and no way to be killed, that leaves it under its own name half-written.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.core.errors import FailedError, RefusedError
from holdfast.platforms.files.publishing import sync_directory

_SUFFIX: Final = ".restoring"


def set_aside_name(path: Path) -> Path:
    """What an image is called while it is overwritten."""
    return path.with_name(path.name + _SUFFIX)


def whereabouts(path: Path) -> Path:
    """Where the image of this name is: under its name, or set aside."""
    aside = set_aside_name(path)
    return aside if not os.path.lexists(path) and os.path.lexists(aside) else path


class SetAside:
    """Images set aside while the context lasts, and longer if they are half-written by then."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._is_half_written = any(whereabouts(path) != path for path in paths)

    @property
    def is_half_written(self) -> bool:
        """Whether they stay aside if the context ends now."""
        return self._is_half_written

    def begin_to_write(self) -> None:
        """From now on they are neither what they were nor what they are to be."""
        self._is_half_written = True

    def __enter__(self) -> Self:
        """Raises RefusedError if something has the name, FailedError."""
        try:
            for path in self._paths:
                _set_aside(path)
            self._sync()
        except OSError as error:
            self._give_up()
            raise _renaming_failed(error) from error
        except BaseException:
            self._give_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._give_up()

    def give_back(self) -> None:
        """They are whole: each gets its name. Raises FailedError; RefusedError if something has taken it meanwhile."""
        try:
            for path in self._paths:
                if os.path.lexists(path):
                    raise _two_images(path)
                set_aside_name(path).rename(path)
            self._sync()
        except OSError as error:
            raise _renaming_failed(error) from error
        self._is_half_written = False

    def _give_up(self) -> None:
        """Nothing was written: as it was before."""
        if not self._is_half_written:
            for path in self._paths:
                with suppress(OSError):
                    whereabouts(path).rename(path)

    def _sync(self) -> None:
        """Let the names be durable before anything that rests on them happens."""
        for directory in {path.parent for path in self._paths}:
            sync_directory(directory)


def _set_aside(path: Path) -> None:
    aside = set_aside_name(path)
    if os.path.lexists(path) and os.path.lexists(aside):
        raise _two_images(path)
    if whereabouts(path) == path:
        try:
            path.rename(aside)
        except OSError as error:
            raise _renaming_failed(error) from error


def _two_images(path: Path) -> RefusedError:
    return RefusedError(
        f"{path} and {set_aside_name(path)} both exist, and which of them is the disk is not known",
        hint="remove the one that is not, or give it another name",
        code="two-images",
    )


def _renaming_failed(error: OSError) -> FailedError:
    return FailedError(f"cannot rename {error.filename}: {error.strerror}", hint="check the directory's permissions")
