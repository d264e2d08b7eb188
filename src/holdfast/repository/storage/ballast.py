"""Ballast: room that a storage which can be full keeps for the decisions that make room.

Deleting begins with a decision, and a decision is an object. On a disk without a free byte it could not be put, and
nothing could ever be freed. So whoever makes room lets go of a part of what was kept for that. The end of a collection
takes it again. Backups, which fill disks, never touch it.
"""

from collections.abc import Callable
from typing import TypeVar

from holdfast.core.errors import FullError
from holdfast.repository.storage.port import Storage

_Done = TypeVar("_Done")


def with_ballast(storage: Storage, action: Callable[[], _Done], *, keep: int = 0) -> _Done:
    """What `action` returns. While the storage is full, a part of its ballast goes, and the action is tried anew.

    Raises what the action raises; FullError once no more than `keep` bytes are left of the ballast.
    """
    while True:
        try:
            return action()
        except FullError:
            if storage.ballast is None or not storage.ballast.drop(keep):
                raise
