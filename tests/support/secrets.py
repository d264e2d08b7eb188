"""Secrets that cost nothing to try, and who opens with what."""

from holdfast.core.errors import DeniedError
from holdfast.repository import Repository, Secret, Storage, open_repository
from holdfast.repository.keys import SlotKind
from tests.support.repositories import CHEAP


def a_secret(content: bytes, kind: SlotKind = "passphrase") -> Secret:
    return Secret(content=content, kind=kind, cost=CHEAP)


def opens(storage: Storage, content: bytes) -> Repository | None:
    """The repository, or None if this secret is denied."""
    try:
        return open_repository(storage, content)
    except DeniedError:
        return None
