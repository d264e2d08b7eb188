"""Which objects this computer has seen locked in the store, so that nobody asks again before the next period.

A file per store and period, of 16 bytes for each name; it only grows. A lock cannot be taken back, so what stands there
stays true, and what is lost is asked for again. Only what the store has confirmed is written.
"""

import os
import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

_NAME_BYTES: Final = 16
_NAME: Final = np.dtype(f"S{_NAME_BYTES}")
_FILE: Final = re.compile(r"(?P<store>[0-9a-f]{16})-(?P<end>\d{4}-\d\d-\d\d)")
_DAY: Final = "%Y-%m-%d"


def end_of_period(until: datetime) -> datetime:
    """The end of a lock that is to reach that time: rounded up to the beginning of a month, in UTC.

    So the nights of a month ask for one and the same end, and what is locked until then is not locked anew.
    """
    first = until.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first if first == until else (first + timedelta(days=32)).replace(day=1)


class KnownLocks:
    """Names by the end of their lock. Safe to use from many threads and processes; `directory` None forgets."""

    def __init__(self, directory: Path | None, url: str) -> None:
        self._directory = directory
        self._store = blake3(url.encode()).hexdigest()[:16]
        self._changing = threading.Lock()
        self._names: dict[datetime, NDArray[np.bytes_]] | None = None

    def others(self, names: Iterable[str], end: datetime) -> list[str]:
        """Those that are not known to be locked until then."""
        asked = list(dict.fromkeys(names))
        keys = _keys(asked)
        with self._changing:
            known = np.zeros(len(asked), np.bool_)
            for until, held in self._loaded().items():
                if until >= end:
                    known |= np.isin(keys, held)
        return [name for name, there in zip(asked, known.tolist(), strict=True) if not there]

    def add(self, names: Sequence[str], end: datetime) -> None:
        """These are locked until then."""
        keys = _keys(names)
        with self._changing:
            loaded = self._loaded()
            loaded[end] = np.concatenate([loaded.get(end, np.zeros(0, _NAME)), keys])
            if self._directory is not None:
                with suppress(OSError):
                    self._append(self._directory / f"{self._store}-{end:{_DAY}}", keys.tobytes())

    def _loaded(self) -> dict[datetime, NDArray[np.bytes_]]:
        if self._names is None:
            self._names = {}
            with suppress(OSError):
                for path in self._directory.iterdir() if self._directory is not None else ():
                    self._load(path, self._names)
        return self._names

    def _load(self, path: Path, names: dict[datetime, NDArray[np.bytes_]]) -> None:
        found = _FILE.fullmatch(path.name)
        if found is None or found["store"] != self._store:
            return
        content = path.read_bytes()
        if len(content) % _NAME_BYTES:  # cut off in the middle: what would be written behind it would not fit
            path.unlink()
            return
        names[datetime.strptime(found["end"], _DAY).replace(tzinfo=UTC)] = np.frombuffer(content, _NAME)

    def _append(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


def _keys(names: Sequence[str]) -> NDArray[np.bytes_]:
    digests = b"".join(blake3(name.encode()).digest(length=_NAME_BYTES) for name in names)
    return np.frombuffer(digests, _NAME)
