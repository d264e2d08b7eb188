"""Whether a storage keeps the guarantees of the port that collection rests on: create-only puts, read-after-write.

Backups survive a storage that breaks them, collection does not: it deletes what it believes nobody needs. Network file
systems are refused without a try, since what one computer can try says nothing about two.
"""

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from holdfast.core.errors import DeniedError, HoldfastError, RefusedError
from holdfast.repository.storage.ballast import with_ballast
from holdfast.repository.storage.port import ObjectExistsError, Storage, Stored

_RACERS: Final = 8
_ROUNDS: Final = 3
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_NETWORK: Final = {"9p", "afs", "ceph", "cifs", "fuse", "gfs2", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}


def require_trustworthy(storage: Storage) -> None:
    """Raise RefusedError, saying why, if nothing may be collected there."""
    if why := with_ballast(storage, partial(weakness, storage)):
        raise RefusedError(
            f"nothing is collected here, because this storage cannot be relied on: {why}",
            hint="backups and restores work on; to free room, copy the repository to another storage",
            code="storage-untrusted",
        )


def weakness(storage: Storage) -> str:
    """Why the storage must not be relied on; "" if it may. Leaves nothing behind if it may delete.

    Raises what the storage raises if it cannot be tried at all.
    """
    if storage.url.startswith("/"):
        kind = file_system_of(Path(storage.url).resolve(), _MOUNTS.read_text())
        if kind.partition(".")[0] in _NETWORK:
            return f"{storage.url} is on a network file system ({kind})"
    for _ in range(_ROUNDS):
        if why := _lost_guarantee(storage, f"probe/{secrets.token_hex(8)}"):
            return f"{storage.url}: {why}"
    return ""


def file_system_of(path: Path, mounts: str) -> str:
    """The type of file system that holds `path`, by the table of mounts (proc(5), mountinfo)."""
    found = "", ""
    for line in mounts.splitlines():
        fields, _, origin = line.partition(" - ")
        place = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), fields.split(" ")[4])
        if path.is_relative_to(place) and len(place) >= len(found[0]):  # of equals, the later one is on top
            found = place, origin.split(" ")[0]
    return found[1]


def _lost_guarantee(storage: Storage, name: str) -> str:
    """What a race for one name shows, and what is seen of the name afterwards."""
    contents = [b"racer %d of %s" % (number, name.encode()) for number in range(_RACERS)]
    try:
        with ThreadPoolExecutor(_RACERS) as racers:
            won = list(racers.map(partial(_wins, storage, name), contents))
        seen = storage.get(name)
        listed = Stored(name, len(seen)) in storage.list("probe/")
    except BaseException:
        with suppress(HoldfastError):
            storage.delete(name)
        raise
    try:
        storage.delete(name)
    except DeniedError:  # a credential that can only add does not collect either
        remains = False
    else:
        remains = Stored(name, len(seen)) in storage.list("probe/")
    if sum(won) != 1:
        return f"{sum(won)} of {_RACERS} puts of one name succeeded, not one"
    if seen != contents[won.index(True)]:
        return "what was read is not what the put that succeeded had written"
    if not listed:
        return "a put that succeeded was not listed afterwards"
    return "a delete that succeeded left its name in the listing" if remains else ""


def _wins(storage: Storage, name: str, content: bytes) -> bool:
    try:
        storage.put(name, [content])
    except ObjectExistsError:
        return False
    return True
