"""Warnings of one job: each is shown once as it comes, and all are kept for the result."""

from collections.abc import Iterable
from threading import Lock

from holdfast.core.progress import Progress


class Notes:
    """Progress that passes everything on and remembers the warnings. May be called from any thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._warnings: dict[str, None] = {}
        self._lock = Lock()

    def step(self, text: str) -> None:
        """Pass it on."""
        self._progress.step(text)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Pass it on."""
        self._progress.advance(done_bytes, total_bytes)

    def warning(self, text: str) -> None:
        """Remember it, and pass it on unless it was said before."""
        with self._lock:
            known = text in self._warnings
            self._warnings[text] = None
        if not known:
            self._progress.warning(text)

    def add(self, warnings: Iterable[str]) -> None:
        """Take over warnings that a port returned instead of telling them."""
        for text in warnings:
            self.warning(text)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning once, in the order they came."""
        with self._lock:
            return tuple(self._warnings)
