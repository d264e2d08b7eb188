"""Claims between processes: what other attempts of this user on this host are storing right now, as a hint.

Each attempt has a number and, for its life, a locked file of that name: whose file can be locked is dead. A claim is
two words in a table that all share: the first eight bytes of an id, and the number of the attempt that is storing it.
Claims are taken without a lock and may overwrite each other; one that is lost costs a second copy, nothing else. That
an attempt brings home what it claimed is never relied on without looking.
"""

import fcntl
import os
import secrets
import struct
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_CLAIM: Final = struct.Struct("<8sQ")
_CLAIMS: Final = 1 << 20
"""16 MiB; of what is stored between two listings of the index hardly a claim is overwritten."""
_BELIEVED_S: Final = 1.0
"""How long a neighbour that was alive is taken for alive."""


class Neighbours:
    """One attempt's place among those at work in `directory`. Safe to use from many threads; any failure means none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = secrets.randbits(63) | 1
        self._table = directory / "claims"
        self._place = directory / f"{self._number:016x}"
        self._alive: dict[int, float] = {}
        self._file = -1
        self._lock_file = -1
        with suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            self._lock_file = self._take_place()
            self._file = os.open(self._table, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def claim(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of these ids that a neighbour is storing; the others are this attempt's now."""
        try:
            return {wanted for wanted in ids if self._claim(wanted)} if self._file >= 0 else set()
        except OSError:
            return set()

    def are_at_work(self, ids: Collection[bytes]) -> bool:
        """Whether one of these ids is still claimed by a neighbour who is alive."""
        with suppress(OSError):
            return self._file >= 0 and any(self._owner(wanted) for wanted in ids)
        return False

    def close(self) -> None:
        """Be at work no more."""
        with suppress(OSError):
            self._place.unlink(missing_ok=True)
        for file in (self._file, self._lock_file):
            with suppress(OSError):
                os.close(file)
        self._file = self._lock_file = -1

    def _claim(self, wanted: bytes) -> bool:
        """Whether it is somebody else's."""
        if self._owner(wanted):
            return True
        os.pwrite(self._file, _CLAIM.pack(wanted[:8], self._number), _place_of(wanted))
        return False

    def _owner(self, wanted: bytes) -> int:
        """The number of the living neighbour who has claimed an id; 0 if there is none."""
        found = os.pread(self._file, _CLAIM.size, _place_of(wanted))
        if len(found) < _CLAIM.size:
            return 0
        prefix, owner = _CLAIM.unpack(found)
        return owner if prefix == wanted[:8] and owner != self._number and self._is_alive(owner) else 0

    def _is_alive(self, number: int) -> bool:
        now = time.monotonic()
        if number not in self._alive or self._alive[number] < now - _BELIEVED_S:
            if not _is_locked(self._directory / f"{number:016x}"):
                self._alive.pop(number, None)
                return False
            self._alive[number] = now
        return True

    def _take_place(self) -> int:
        """Make and lock the file that says that this attempt is alive."""
        while True:
            file = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # somebody swept it away before it was locked

    def _sweep(self) -> None:
        """Remove the files of the dead."""
        for path in self._directory.iterdir():
            if path != self._table and not _is_locked(path):
                path.unlink(missing_ok=True)


def _place_of(wanted: bytes) -> int:
    return int.from_bytes(wanted[8:16], "little") % _CLAIMS * _CLAIM.size


def _is_locked(path: Path) -> bool:
    """Whether somebody holds the file's lock; a file that is not there is nobody's."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
