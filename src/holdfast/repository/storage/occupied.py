"""A place for a new repository that is not empty: nobody is told to remove what may be a repository."""

from collections.abc import Collection
from typing import Final

from holdfast.core.errors import RefusedError

_OF_REPOSITORIES: Final = {"config", "config.2", "packs"}
"""What an interrupted creation has not made yet. Source: docs/format.md, the order of a new repository's objects."""
_OF_CREATIONS: Final = {"ballast", "keys", "log", "tmp"}


def occupied(url: str, found: Collection[str]) -> RefusedError:
    """What to raise about a place where there are objects or folders of these names."""
    if not _OF_REPOSITORIES.isdisjoint(found):
        message, hint = f"{url} is a repository already", "use it as it is, or choose another place for a new one"
    elif _OF_CREATIONS.issuperset(found):
        message = f"{url} is not empty: a creation of a repository is under way there, or was interrupted"
        hint = "choose another place, or remove what is there if nobody is at it"
    else:
        message, hint = f"{url} is not empty", "choose another place, or a new directory in it"
    return RefusedError(message, hint=hint, code="not-empty")
