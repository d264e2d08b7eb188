"""What this computer remembers of a repository between runs: how far its log had come, and the hash there.

Disposable; with it, a repository that was rolled back to an older copy, or that went on differently elsewhere, is
noticed, although each of its objects is genuine.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from holdfast.repository import Head, Repository


@contextmanager
def remembering(repository: Repository, cache: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Warn if the log does not continue what was seen here last; at the end, remember it as it is by then.

    A cache that cannot be read or written remembers nothing and fails nothing.
    """
    file = cache / repository.id / "head.json"
    repository.log.read()
    if warning := _contradiction(repository, _recall(file)):
        warn(warning)
    try:
        yield
    finally:
        _remember(file, repository.log.head)


def _contradiction(repository: Repository, seen: Head | None) -> str | None:
    if seen is None:
        return None
    where = repository.storage.url
    present = repository.log.head.number
    if present < seen.number:
        return f"{where} was rolled back: its log had {seen.number} entries when last seen here, and has {present} now"
    if repository.log.hash_of(seen.number) != seen.hash:
        return f"{where} is another copy than was last seen here: their logs differ at entry {seen.number} or before"
    return None


def _recall(file: Path) -> Head | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Head)
    except (OSError, msgspec.MsgspecError):
        return None


def _remember(file: Path, head: Head) -> None:
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.encode(head))
        draft.replace(file)
    except OSError:
        return
