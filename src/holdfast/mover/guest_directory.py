"""Files that go back into a running guest: an archive is handed to its agent and unpacked there.

Until all is there it stands in a directory of its own beside its place, under a name that shows that, and gets its name
by one rename. Nothing that exists is replaced.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holdfast.core.errors import FailedError, HoldfastError, NotFoundError, RefusedError
from holdfast.core.guest import Guest, GuestError
from holdfast.core.progress import Progress
from holdfast.mover.archives import TarArchive

_PIECE: Final = 48 * 1024
"""A message to the agent; base64 makes it a third longer."""
_UNPACK_S: Final = 3600.0
_PREPARE: Final = """
[ -d "$1" ] || exit 40
{ [ -e "$1/$2" ] || [ -L "$1/$2" ]; } && exit 41
umask 077
mkdir "$1/$3"
"""
_UNPACK: Final = """
set -e
cd "$1/$3"
options=-xpf
tar --version 2>/dev/null | grep -q 'GNU tar' && options="--xattrs --xattrs-include=* --numeric-owner -xpf"
mkdir files
tar -C files $options archive.tar
{ [ -e "$1/$2" ] || [ -L "$1/$2" ]; } && exit 41
mv "files/$2" "$1/$2"
sync
"""
_REMOVE: Final = 'rm -rf -- "$1/$3"'


class GuestDirectory(TarArchive):
    """A Destination: the directory `place` of a guest, in which the files get the name `top`."""

    def __init__(self, guest: Guest, place: str, top: bytes, archive: Path, progress: Progress) -> None:
        """`archive` is a path of this host for what is on its way. Raises FailedError, and what the guest refuses."""
        self._guest = guest
        self._place = place.rstrip("/") or "/"
        self._called = os.fsdecode(top)
        self._draft_name = f".holdfast-{secrets.token_hex(6)}"
        self._archive = archive
        self._progress = progress
        super().__init__(os.fsencode(archive), top)
        try:
            self._ask("make a directory", _PREPARE, 60)
        except BaseException:
            super().abandon()
            raise

    @property
    def output(self) -> str:
        """See Destination."""
        return f"{self._guest.name}:{self._place}/{self._called}"

    def finish(self) -> None:
        """See Destination."""
        super().finish()
        self._progress.step(f"Handing it to {self._guest.name}")
        try:
            self._guest.write(f"{self._place}/{self._draft_name}/archive.tar", self._pieces())
        except GuestError as error:
            raise _failed(self._guest, str(error)) from error
        self._ask("unpack the files", _UNPACK, _UNPACK_S)
        self._clean_up()

    def abandon(self) -> None:
        """See Destination."""
        super().abandon()
        self._clean_up()

    def _pieces(self) -> Iterator[bytes]:
        total, done = self._archive.stat().st_size, 0
        with self._archive.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
                done += len(piece)
                self._progress.advance(done, total)

    def _clean_up(self) -> None:
        self._archive.unlink(missing_ok=True)
        try:
            self._ask("remove the draft", _REMOVE, 60)
        except HoldfastError:
            self._progress.warning(f"{self._place}/{self._draft_name} stays in {self._guest.name}: remove it there")

    def _ask(self, what: str, script: str, timeout_s: float) -> None:
        command = ["/bin/sh", "-c", script, "sh", self._place, self._called, self._draft_name]
        try:
            done = self._guest.run(command, timeout_s=timeout_s)
        except GuestError as error:
            raise _failed(self._guest, str(error)) from error
        if done.status == 40:
            raise NotFoundError(f"{self._guest.name} has no directory {self._place}", hint="create it or name another")
        if done.status == 41:
            raise RefusedError(f"{self.output} exists", hint="name another directory, or move it away", code="exists")
        if done.status:
            raise _failed(self._guest, f"it cannot {what}: {done.output.strip()[-300:]}")


def _failed(guest: Guest, why: str) -> FailedError:
    hint = "the agent must be allowed to run programs and write files: see its configuration in the guest"
    return FailedError(f"{guest.name}: {why}", hint=hint, code="guest-refused")
