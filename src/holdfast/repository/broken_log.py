"""What is left of a log that has lost entries: enough to find points and read them, and nothing else."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from blake3 import blake3

from holdfast.core.errors import DamagedError
from holdfast.repository.decisions import UNKNOWN_TIME, Body, Entry
from holdfast.repository.log import Appended, Log
from holdfast.repository.log_entry import entry_name, previous_of
from holdfast.repository.state import State, fold
from holdfast.repository.storage.port import StorageError


class BrokenLog(Log):
    """Reads every entry that can be read, whatever is missing between them; `lost` names the others.

    What a lost entry decided is unknown: points that it made cannot be seen, and points that it purged are shown
    although parts of them may be gone. So nothing may be decided on such a state.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.lost: list[str] = []
        self._is_read = False

    def open(self) -> None:
        """Read it."""
        self.read()

    def read(self) -> State:
        """The fold of what is left, as it was when it was read first."""
        with self._reading:
            if not self._is_read:
                self._is_read = True
                for number in range(1, self.last_listed() + 1):
                    self._take(number)
            return self._state

    def append(self, make: Callable[[State, datetime], Body], base: int | None = None) -> Appended:
        """Nothing can be decided: always raises DamagedError."""
        del make, base
        message = f"nothing can be written: the log has lost {', '.join(self.lost)}"
        raise DamagedError(message, hint="bring the log back from a copy of the repository", code="log-hole")

    def _take(self, number: int) -> None:
        """Fold one entry, or a gap in its place."""
        gap = Entry(number=number, at=UNKNOWN_TIME, by="", body=Body())
        try:
            entry = self._present(number) or gap
        except (DamagedError, StorageError):
            entry = gap
        if entry is gap:
            self.lost.append(entry_name(number))
            self._hashes.append("")
        self._state = fold(self._state, [entry])
        self._enter_epoch()

    def _present(self, number: int) -> Entry | None:
        """An entry that can be read; None if it is missing. Behind a gap it need not follow what was lost."""
        payload = self._payload(number)
        if payload is None:
            return None
        if number > 1 and not self._hashes[-1]:
            self._hashes[-1] = previous_of(payload, entry_name(number))
        entry = self._open(payload)
        self._hashes.append(blake3(payload).hexdigest())
        return entry
