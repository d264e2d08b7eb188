"""What the agent inside a running guest can be asked to do. A port is its guarantees, as in `core/ports.py`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class GuestError(Exception):
    """The guest, or its agent, did not do what it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A program that ran to its end in the guest: its exit status, and what it printed."""

    status: int
    output: str


class Guest(Protocol):
    """A running guest. For one thread."""

    @property
    def name(self) -> str:
        """The machine's label."""

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a file from its beginning on. Raises GuestError; then some of it may be there."""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Executed:
        """Run a program. Raises GuestError, also if it does not end in time."""
