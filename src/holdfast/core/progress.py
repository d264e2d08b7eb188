"""How long work tells whoever watches what it is doing."""

from typing import Protocol


class Progress(Protocol):
    """Called from any thread; must return at once and never raise."""

    def step(self, text: str) -> None:
        """A new phase begins."""

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """`done_bytes` of `total_bytes` of the present phase are behind us."""

    def warning(self, text: str) -> None:
        """Something the user must know, and which did not stop the work."""


class Silence:
    """Progress that nobody watches."""

    def step(self, text: str) -> None:
        """Ignore it."""

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """Ignore it."""

    def warning(self, text: str) -> None:
        """Ignore it."""
