"""When this computer last proved which pack in which storage: disposable, and only a hint what to read first.

A file of rows, appended to: 16 bytes of the pack's name, seconds since 1970 (u64, little-endian); the last row of a
pack counts. Two names that no pack can count on having say that a check of everything began, or came to its end. What
was proved since it began are the rows behind that one, whatever their times say: a clock may have been wrong.
"""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROW: Final = struct.Struct("<16sQ")
_BEGAN: Final = bytes(16)
_ENDED: Final = b"\xff" * 16


class Journal:
    """Times of proof. A file that cannot be read or written remembers nothing and fails nothing; None: no file."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._times: dict[bytes, int] = {}
        self._unfinished: set[bytes] | None = None
        """What was proved since the last check of everything began; None once it has come to its end."""
        self._recall()

    def proved_at(self, pack: str) -> int:
        """Seconds since 1970; 0 if never."""
        return self._times.get(_key(pack), 0)

    def is_proved_by_unfinished(self, pack: str) -> bool:
        """Whether it was proved since the last check of everything began, which has not come to its end."""
        return self._unfinished is not None and _key(pack) in self._unfinished

    def note(self, pack: str, now: int) -> None:
        """The pack of this name is as written."""
        self._take(_key(pack), now)
        self._append(_key(pack), now)

    def begin(self, now: int) -> None:
        """A check of everything begins."""
        self._take(_BEGAN, now)
        self._append(_BEGAN, now)

    def end(self, now: int) -> None:
        """It has read everything."""
        self._take(_ENDED, now)
        self._append(_ENDED, now)
        self._compact()

    def _recall(self) -> None:
        content = b""
        if self._path is not None:
            with suppress(OSError):
                content = self._path.read_bytes()
        for row in _ROW.iter_unpack(content[: len(content) // _ROW.size * _ROW.size]):
            self._take(*row)

    def _take(self, name: bytes, seconds: int) -> None:
        """What a row says, on top of those before it."""
        if name == _BEGAN:
            self._unfinished = set()
        elif name == _ENDED:
            self._unfinished = None
        else:
            self._times[name] = seconds
            if self._unfinished is not None:
                self._unfinished.add(name)

    def _append(self, name: bytes, now: int) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.truncate(file.tell() // _ROW.size * _ROW.size)  # a row that a power cut tore
                file.write(_ROW.pack(name, now))

    def _compact(self) -> None:
        """Keep one row for each pack."""
        if self._path is None:
            return
        draft = self._path.with_suffix(".partial")
        with suppress(OSError):
            draft.write_bytes(b"".join(_ROW.pack(*row) for row in self._times.items()))
            draft.replace(self._path)


def _key(pack: str) -> bytes:
    return bytes.fromhex(pack[:32])
